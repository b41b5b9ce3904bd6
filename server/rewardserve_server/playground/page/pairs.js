// Preference pairs: accuracy, the distribution of the rewards, and a table to sort.

import { ask, element, find, number, run, svg } from "./dom.js";

const BINS = 30;
// Of several answers, those that decide.
const least = (answers) => Math.min(...answers.map((answer) => answer.reward));
const most = (answers) => Math.max(...answers.map((answer) => answer.reward));

const COLUMNS = [
  { name: "line", value: (row) => row.line, numeric: true },
  { name: "subset", value: (row) => row.subset ?? "" },
  { name: "chosen", value: (row) => row.chosen[0].response },
  { name: "its reward", value: (row) => least(row.chosen), numeric: true, format: number },
  { name: "rejected", value: (row) => row.rejected[0].response },
  { name: "its reward", value: (row) => most(row.rejected), numeric: true, format: number },
  { name: "margin", value: (row) => row.margin, numeric: true, format: number },
];

/** Wires the form up; `compare` is called with the answers of a row that is clicked. */
export function preparePairs(describe, compare) {
  const form = find("evaluate");
  let given = null;
  describe().then((model) => {
    find("as-chat-field").hidden = !model?.chat;
    given = model?.pairs ?? null;
    if (given) form.querySelector("button.main").textContent = `Evaluate ${given}`;
  });
  find("file").addEventListener("change", () => {
    form.querySelector("button.main").textContent = find("file").files.length || !given ? "Evaluate" : `Evaluate ${given}`;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form, async () => {
      find("evaluation").replaceChildren(element("p", { className: "detail" }, "scoring…"));
      try {
        const [file] = find("file").files;
        if (!file && !given) throw new Error("No file is chosen.");
        const content = file ? await file.text() : null;
        show(await ask("api/pairs", { content, chat: find("as-chat").checked }), compare);
      } catch (error) {
        find("evaluation").replaceChildren();
        throw error;
      }
    });
  });
}

function show(evaluation, compare) {
  const { accuracy, table, chosen, rejected, skipped, subsets } = evaluation;
  const notes = [];
  if (skipped) notes.push(`${skipped} rows are left out: an answer is too long for the model.`);
  if (evaluation.cut) notes.push(`Only the first ${evaluation.rows} rows: use rewardserve evaluate for all.`);
  find("evaluation").replaceChildren(
    element("div", { className: "tiles card" },
      tile("accuracy", percent(accuracy.accuracy), `95%: ${percent(accuracy.low)} to ${percent(accuracy.high)}`),
      tile("rows", String(accuracy.rows), `${accuracy.correct} right, ${accuracy.ties} tied`),
      tile("mean margin", number(accuracy.mean_margin), "chosen less rejected"),
      tile("chosen", number(chosen.mean), `± ${number(chosen.std)}`),
      tile("rejected", number(rejected.mean), `± ${number(rejected.std)}`)),
    ...notes.map((note) => element("p", { className: "note" }, note)),
    histogram(table),
    ...subsetTable(subsets),
    sortable(table, compare));
}

const percent = (part) => `${(100 * part).toFixed(1)}%`;

function tile(name, value, detail) {
  return element("div", { className: "tile" },
    element("span", { className: "detail" }, name), element("strong", {}, value), element("span", { className: "detail" }, detail));
}

/** How often each reward occurs, of chosen and of rejected answers. */
function histogram(table) {
  const series = { chosen: [], rejected: [] };
  for (const row of table) {
    for (const name of ["chosen", "rejected"]) series[name].push(...row[name].map((answer) => answer.reward));
  }
  const rewards = [...series.chosen, ...series.rejected];
  const low = rewards.reduce((one, other) => Math.min(one, other));
  const width = (rewards.reduce((one, other) => Math.max(one, other)) - low) / BINS || 1;
  const counts = Object.entries(series).map(([name, values]) => {
    const bins = new Array(BINS).fill(0);
    for (const value of values) bins[Math.min(BINS - 1, Math.floor((value - low) / width))] += 1;
    return [name, bins];
  });
  const highest = Math.max(...counts.flatMap(([, bins]) => bins));
  const drawing = svg("svg", { viewBox: "0 0 600 120", preserveAspectRatio: "none", role: "img" }, svg("title", {}, "Rewards of chosen and rejected answers"));
  for (const [name, bins] of counts) {
    bins.forEach((count, index) => {
      if (!count) return;
      const height = (120 * count) / highest;
      const bar = svg("rect", { class: name, x: index * 20 + 1, y: 120 - height, width: 18, height, rx: 2 });
      bar.append(svg("title", {}, `${count} ${name}: ${number(low + index * width)} to ${number(low + (index + 1) * width)}`));
      drawing.append(bar);
    });
  }
  const axis = element("p", { className: "axis detail" },
    element("span", {}, number(low)), element("span", {}, number(low + BINS * width)));
  const key = element("figcaption", {}, element("span", { className: "key chosen" }), "chosen ",
    element("span", { className: "key rejected" }), "rejected: rewards, and how many answers have them");
  return element("figure", { className: "card" }, drawing, axis, key);
}

function subsetTable(subsets) {
  const rows = Object.entries(subsets).map(([name, accuracy]) => element("tr", {},
    element("td", {}, name), element("td", { className: "numeric" }, String(accuracy.rows)),
    element("td", { className: "numeric" }, percent(accuracy.accuracy)),
    element("td", { className: "numeric" }, `${percent(accuracy.low)} to ${percent(accuracy.high)}`)));
  if (!rows.length) return [];
  const head = ["subset", "rows", "accuracy", "95% interval"].map((name) => heading(name, name !== "subset"));
  return [wide("subsets", element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows))];
}

const heading = (content, numeric) => element("th", { scope: "col", className: numeric ? "numeric" : "" }, content);

const wide = (id, ...parts) => element("div", { className: "card wide" }, element("table", { id }, ...parts));

function sortable(table, compare) {
  const body = element("tbody", {}, ...table.map((row) => tableRow(row, compare)));
  const rows = new Map(table.map((row, index) => [row, body.children[index]]));
  const heads = COLUMNS.map((column) => {
    const button = element("button", { type: "button" }, column.name);
    const head = heading(button, column.numeric);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...sorted(table, column, up).map((row) => rows.get(row)));
    });
    return head;
  });
  return wide("rows", element("thead", {}, element("tr", {}, ...heads, element("th"))), body);
}

function sorted(table, { value, numeric }, up) {
  const order = numeric ? (one, other) => one - other : (one, other) => one.localeCompare(other);
  return table.toSorted((one, other) => (up ? 1 : -1) * order(value(one), value(other)));
}

function tableRow(row, compare) {
  const cells = COLUMNS.map(({ value, numeric, format = String }) => {
    const text = format(value(row));
    return element("td", { className: numeric ? "numeric" : "text", title: numeric ? "" : text }, text);
  });
  const button = element("button", { type: "button", className: "quiet" }, "compare");
  button.addEventListener("click", () => compare([...row.chosen, ...row.rejected]));
  return element("tr", { className: row.correct ? "" : "wrong" }, ...cells, element("td", {}, button));
}
