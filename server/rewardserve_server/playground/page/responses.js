// Several responses to one prompt, ranked by reward, each with its tokens.

import { ask, element, find, number, run } from "./dom.js";

const ROLES = ["user", "assistant", "system"];
let model = null;

/** Wires the form up. Gives a function that fills it with answers and scores them. */
export function prepareResponses(describe) {
  const form = find("compare");
  find("add-message").addEventListener("click", () => addMessage().focus());
  find("add-response").addEventListener("click", () => addResponse().focus());
  for (const choice of form.elements.form) choice.addEventListener("change", showForm);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    score(describe);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  addMessage();
  addResponse();
  addResponse();
  describe().then((found) => {
    offer(found);
    if (found?.chat) form.elements.form.value = "chat";
    showForm();
  });
  return (answers) => {
    fill(answers);
    score(describe);
  };
}

function offer(found) {
  model = found;
  find("form-of-prompt").hidden = !found?.chat;
}

const isChat = () => find("compare").elements.form.value === "chat";

function showForm() {
  find("messages-field").hidden = !isChat();
  find("prompt-field").hidden = isChat();
}

function removable(parent, label, area, ...others) {
  const remove = element("button", { type: "button", className: "quiet", title: `Remove this ${label}` }, "×");
  remove.setAttribute("aria-label", remove.title);
  area.setAttribute("aria-label", label);
  const field = element("div", { className: "field" }, ...others, area, remove);
  remove.addEventListener("click", () => field.remove());
  parent.append(field);
  return area;
}

function addMessage(role = "user", content = "") {
  const roles = element("select", {}, ...ROLES.map((name) => new Option(name)));
  if (!ROLES.includes(role)) roles.append(new Option(role));
  roles.value = role;
  roles.setAttribute("aria-label", "role");
  return removable(find("messages"), "message", element("textarea", { rows: 2, value: content }), roles);
}

function addResponse(content = "") {
  return removable(find("response-fields"), "response", element("textarea", { rows: 2, value: content }));
}

function fill(answers) {
  const [{ prompt, messages }] = answers;
  find("compare").elements.form.value = messages ? "chat" : "text";
  showForm();
  find("prompt").value = prompt;
  find("messages").replaceChildren();
  for (const { role, content } of messages ?? []) addMessage(role, content);
  find("response-fields").replaceChildren();
  for (const { response } of answers) addResponse(response);
}

function request() {
  const responses = [...find("response-fields").querySelectorAll("textarea")].map((area) => area.value);
  if (!isChat()) return { prompt: find("prompt").value, responses };
  const messages = [...find("messages").children].map((field) => ({
    role: field.querySelector("select").value,
    content: field.querySelector("textarea").value,
  }));
  return { messages, responses };
}

function score(describe) {
  return run(find("compare"), async () => {
    const asked = request();
    find("ranking").replaceChildren();
    try {
      const { results } = await ask("api/score", asked);
      show(results.map((result, index) => ({ ...result, response: asked.responses[index], place: index + 1 })));
    } finally {
      describe().then(offer);
    }
  });
}

/** One card a response, the highest reward first; a model with several labels is ranked by the one that is chosen. */
function show(results, label = 0) {
  const scale = scaleOf(results);
  const ranked = results.toSorted((one, other) => other.rewards[label] - one.rewards[label]);
  const rewards = ranked.map((result) => result.rewards[label]);
  const [best, worst] = [rewards[0], rewards.at(-1)];
  const cards = ranked.map((result, rank) => card(result, rank, label, share(result.rewards[label], worst, best), scale));
  const head = [];
  if (model?.labels) head.push(labelChoice(results, label));
  if (scale) head.push(legend(scale));
  find("ranking").replaceChildren(...head, element("ol", { className: "ranking" }, ...cards));
  for (const shown of document.querySelectorAll(".tokens")) shown.scrollTop = shown.scrollHeight; // the response is last
}

const share = (value, low, high) => (high > low ? (value - low) / (high - low) : 1);

function labelChoice(results, label) {
  const choice = element("select", {}, ...model.labels.map((name, index) => new Option(name, index)));
  choice.value = label;
  choice.addEventListener("change", () => show(results, Number(choice.value)));
  return element("label", { className: "label-choice" }, "Ranked by ", choice);
}

function card({ rewards, response, tokens, place }, rank, label, length, scale) {
  const bar = element("div", { className: "bar" });
  bar.style.setProperty("--length", `${Math.round(100 * length)}%`);
  const head = element("div", { className: "head" },
    element("span", { className: "rank" }, String(rank + 1)),
    element("strong", { className: "reward" }, number(rewards[label])),
    element("span", { className: "detail" }, `response ${place} · ${count(tokens)}`));
  const parts = [head, bar, element("p", { className: "text" }, response)];
  if (rewards.length > 1) {
    const all = rewards.map((reward, index) => `${model.labels[index]} ${number(reward)}`);
    parts.push(element("p", { className: "detail" }, all.join(" · ")));
  }
  parts.push(element("details", { open: scale !== null },
    element("summary", {}, scale ? "tokens and their values" : "tokens"),
    element("p", { className: "tokens" }, ...tokens.map((token) => tokenMark(token, scale)))));
  return element("li", { className: "card" }, ...parts);
}

function count(tokens) {
  const cut = model && model.truncation !== "error" && tokens.length === model.max_length;
  return `${tokens.length} token${tokens.length === 1 ? "" : "s"}${cut ? ", the most: text beyond them is cut off" : ""}`;
}

/** The values' range and middle, over all responses: one colour means one value. */
function scaleOf(results) {
  const values = results.flatMap(({ tokens }) => tokens.map((token) => token.value)).filter((value) => value !== null);
  if (!values.length) return null;
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Infinity, -Infinity]);
  return { low, high, middle: (low + high) / 2 };
}

function tokenMark({ id, text, value }, scale) {
  const shown = text.replaceAll("\n", "↵\n");
  const mark = element("span", { className: "token" }, shown || "·");
  mark.title = value === null ? `token ${id}` : `${number(value)}\ntoken ${id}: ${JSON.stringify(text)}`;
  if (scale && scale.high > scale.low) {
    const strength = Math.abs(value - scale.middle) / (scale.high - scale.middle);
    mark.style.setProperty("--strength", `${Math.round(65 * strength)}%`);
    mark.classList.add(value < scale.middle ? "low" : "high");
  }
  return mark;
}

function legend({ low, high }) {
  return element("p", { className: "legend" }, number(low), element("span", { className: "gradient" }), number(high));
}
