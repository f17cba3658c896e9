const watched = new Map();

// `columns`: {title, text(row), value(row) to sort by, left, width in characters, open}.
const virtualTable = (place, name, columns, { open = null, rowClass = () => "" } = {}) => {
  const head = element("tr");
  const body = element("tbody");
  const table = element("table", { class: "fixed" }, element("thead", {}, head), body);
  table.setAttribute("aria-label", name);
  const group = element("colgroup");
  let order = [];
  let asked = [];
  let sorted = null;
  let height = 30;
  const made = new Map();
  const above = element("tr", {}, element("td", { class: "gap", colspan: columns.length }));
  const below = element("tr", {}, element("td", { class: "gap", colspan: columns.length }));
  for (const gap of [above, below]) gap.setAttribute("aria-hidden", "true");

  const build = (row, index) => {
    const line = element("tr", { "aria-rowindex": index + 2, class: rowClass(row) });
    columns.forEach((column, place) => {
      const content = column.cell ? column.cell(row) : column.text(row);
      const cell = element(place ? "td" : "th", place ? {} : { scope: "row" });
      if (column.left) cell.className = "text";
      if (place === 0 && open) {
        const button = element("button", { type: "button", "data-row": row }, content);
        if (column.hint) button.setAttribute("aria-label", column.hint(row));
        cell.append(button);
      } else {
        cell.append(content);
        if (typeof content === "string" && content.length > column.width) cell.title = content;
      }
      line.append(cell);
    });
    return line;
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(place.scrollTop / height) - 8);
    const count = Math.ceil((place.clientHeight || 600) / height) + 16;
    const last = Math.min(order.length, first + count);
    const wanted = new Set(order.slice(first, last));
    for (const [row, line] of made) {
      if (!wanted.has(row)) {
        line.remove();
        made.delete(row);
      }
    }
    above.firstChild.style.height = `${first * height}px`;
    below.firstChild.style.height = `${(order.length - last) * height}px`;
    above.hidden = first === 0;
    below.hidden = last === order.length;
    let after = above;
    for (let index = first; index < last; index += 1) {
      const row = order[index];
      let line = made.get(row);
      if (!line) {
        line = build(row, index);
        made.set(row, line);
      }
      if (after.nextSibling !== line) after.after(line);
      after = line;
    }
    const some = made.values().next().value;
    if (some && some.offsetHeight && Math.abs(some.offsetHeight - height) > 0.5) {
      height = some.offsetHeight;
      draw();
    }
  };
  const arrange = () => {
    order = asked.slice();
    if (sorted) {
      const { column, sign } = sorted;
      const key = new Map(order.map((row) => [row, columns[column].value(row)]));
      // What is unknown comes last, whichever way it is sorted.
      order.sort((a, b) => {
        const [one, other] = [key.get(a), key.get(b)];
        if (one === null || other === null) return (one === null) - (other === null) || a - b;
        const way =
          typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
        return sign * way || a - b;
      });
    }
    for (const line of made.values()) line.remove();
    made.clear();
    table.setAttribute("aria-rowcount", order.length + 1);
    place.scrollTop = 0;
    draw();
  };
  columns.forEach((column, place) => {
    const button = element("button", { type: "button" }, column.title);
    const heading = element("th", { scope: "col" }, button);
    if (column.left) heading.className = "text";
    const wide = column.width ?? 8;
    const titled = Math.max(...column.title.split("\n").map((line) => line.length)) + 2;
    const bar = element("col");
    bar.style.width = `calc(${Math.max(wide, titled)} * 0.56rem + 1.2rem)`;
    group.append(bar);
    button.addEventListener("click", () => {
      // Of numbers the first press gives the order that is asked for most; the third restores.
      const first = column.first ?? 1;
      const before = sorted && sorted.column === place ? sorted.sign : 0;
      const next = before === 0 ? first : before === first ? -first : 0;
      for (const other of head.children) other.removeAttribute("aria-sort");
      sorted = next ? { column: place, sign: next } : null;
      if (next) heading.setAttribute("aria-sort", next > 0 ? "ascending" : "descending");
      arrange();
    });
    head.append(heading);
  });
  body.append(above, below);
  table.prepend(group);
  place.replaceChildren(table);
  place.onscroll = draw;
  watched.get(place)?.disconnect();
  watched.set(place, new ResizeObserver(draw));
  watched.get(place).observe(place);
  if (open) {
    body.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-row]");
      if (button) open(Number(button.dataset.row));
    });
  }
  return {
    show: (rows) => {
      asked = rows;
      arrange();
    },
    mark: (test) => {
      for (const [row, line] of made) line.className = test(row);
    },
  };
};
