"use strict";
const table = document.querySelector("#jobs table");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const layer = document.getElementById("layer");
const stage = document.getElementById("stage");
const shown = document.getElementById("shown");
const cyclesColumn = Number(table.dataset.cycles);

const value = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
};
const compare = (a, b) =>
  typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });

table.tHead.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const heading = button.closest("th");
  const column = heading.cellIndex;
  const numeric = rows.length > 0 && typeof value(rows[0], column) === "number";
  const before = heading.getAttribute("aria-sort");
  // Of numbers the largest come first; a third press restores the order of execution.
  const cycle = numeric ? ["descending", "ascending", null] : ["ascending", "descending", null];
  const next = cycle[(cycle.indexOf(before) + 1) % 3];
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  const order = rows.slice();
  if (next) {
    heading.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    order.sort((a, b) => sign * compare(value(a, column), value(b, column)));
  }
  body.append(...order);
});

const filter = () => {
  const part = layer.value.trim().toLowerCase();
  let count = 0;
  let cycles = 0;
  let all = 0;
  for (const row of rows) {
    const keep =
      row.cells[0].textContent.toLowerCase().includes(part) &&
      (stage.value === "" || row.cells[1].textContent === stage.value);
    row.hidden = !keep;
    const own = value(row, cyclesColumn);
    all += own;
    if (keep) {
      count += 1;
      cycles += own;
    }
  }
  const share = all > 0 ? (100 * cycles) / all : 0;
  shown.textContent = `${count} of ${rows.length} jobs, ${share.toFixed(1)} % of the cycles`;
};
layer.addEventListener("input", filter);
stage.addEventListener("change", filter);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
filter();
