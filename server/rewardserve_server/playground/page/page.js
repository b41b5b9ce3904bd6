import { ask, find, showError } from "./dom.js";
import { preparePairs } from "./pairs.js";
import { prepareResponses } from "./responses.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(name) {
  for (const tab of tabs) {
    const own = tab.getAttribute("aria-controls");
    tab.setAttribute("aria-selected", own === name);
    find(own).hidden = own !== name;
  }
}

/** The served model in one line; it may have changed since the page was loaded. */
async function describe() {
  try {
    const model = await ask("api/model");
    const parts = [`${model.model}, version ${model.version}`, model.architecture, model.precision];
    parts.push(`up to ${model.max_length} tokens`);
    if (!model.values) parts.push("no values at tokens (export with --values)");
    find("model").textContent = parts.join(" · ");
    return model;
  } catch (error) {
    find("model").textContent = "no model";
    showError(error);
    return null;
  }
}

for (const tab of tabs) tab.addEventListener("click", () => select(tab.getAttribute("aria-controls")));
const compare = prepareResponses(describe);
preparePairs(describe, (answers) => {
  select("responses");
  compare(answers);
});
