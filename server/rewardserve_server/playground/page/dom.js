// What both halves of the page use. Texts reach the page as text nodes and attributes only, never as HTML.

export const find = (id) => document.getElementById(id);

/** Makes an element; `properties` are set on it, `children` are elements or texts. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Makes an SVG element with these attributes. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const number = (value) => value.toFixed(4).replace("-", "\u2212");

/** Asks the server; throws an Error whose message is the server's own. */
export async function ask(path, body) {
  const options = body && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response, answer;
  try {
    response = await fetch(path, options);
    answer = await response.json();
  } catch (error) {
    throw new Error(`The playground itself doesn't answer (${error.message}). Remedy: is it still running?`);
  }
  if (!response.ok) throw new Error(`${answer.error.type}: ${answer.error.message}`);
  return answer;
}

/** Runs what a form asks for; its button waits, and an error is shown at the top of the page. */
export async function run(form, action) {
  const button = form.querySelector("button.main");
  if (button.disabled) return;
  button.disabled = true;
  showError(null);
  try {
    await action();
  } catch (error) {
    showError(error);
  } finally {
    button.disabled = false;
  }
}

export function showError(error) {
  find("error").hidden = !error;
  find("error").textContent = error ? error.message : "";
}
