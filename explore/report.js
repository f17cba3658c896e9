"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const { parameters, figures } = data;
const designs = data.design.map((_, row) => row);

// Every text goes in as a text node: no name can become an element.
const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const drawing = (tag, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
};

// Numbers for people: one unit for a column, chosen by its largest value.
const scaleFor = (largest, units) => {
  let [unit, size] = units[0];
  for (const [name, of] of units) if (largest >= of) [unit, size] = [name, of];
  const scaled = largest / size;
  const whole = size === 1 && size === units[0][1] && Number.isInteger(largest);
  return { unit, size, decimals: whole || scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2 };
};
const scaledText = (value, { size, decimals }) => {
  if (value === 0) return "0";
  const scaled = value / size;
  const last = 10 ** -decimals;
  if (Math.abs(scaled) < last / 2) return `<${last.toFixed(decimals)}`;
  const format = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return scaled.toLocaleString("en-US", format);
};
// A figure without units, such as an accuracy, has as many digits as it needs.
const unitless = (units) => units.length === 1 && units[0][0] === "";
const amount = (value, units) => {
  if (value === null) return "–";
  if (unitless(units)) return String(Number(value.toPrecision(6)));
  const scale = scaleFor(Math.abs(value), units);
  return `${scaledText(value, scale)} ${scale.unit}`.trimEnd();
};
const percent = (share) => (share >= 0.9995 ? "100" : scaledText(share, { size: 0.01, decimals: 1 }));
const known = (values) => values.filter((value) => value !== null);
const largest = (values) => values.reduce((most, value) => Math.max(most, value ?? 0), 0);
// The unit suits the middle of a column, in proportion, so that neither end has too many digits.
const middle = (values) => {
  const some = known(values).map(Math.abs).filter((value) => value > 0);
  if (!some.length) return 0;
  const [low, high] = some.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [some[0], some[0]]);
  return Math.sqrt(low) * Math.sqrt(high);
};
const scales = figures.map((figure) => scaleFor(middle(figure.values), figure.units));
const digits = (value, whole) =>
  Math.abs(value) >= 100 || whole
    ? value.toLocaleString("en-US", { maximumFractionDigits: 0 })
    : value.toLocaleString("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const figureTitle = (place) => {
  const { unit } = scales[place];
  return unit ? `${figures[place].title} (${unit})` : figures[place].title;
};
const figureText = (place, row) => {
  const value = figures[place].values[row];
  if (value === null) return "–";
  if (unitless(figures[place].units)) return amount(value, figures[place].units);
  const whole = Number.isInteger(value) && scales[place].size === 1;
  return value === 0 ? "0" : digits(value / scales[place].size, whole);
};
const level = (parameter, row) => parameter.levels[parameter.of[row]];

// Plots ------------------------------------------------------------------------------------------

const ends = (values, log) => {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (log) {
    const room = Math.max(1.15, (high / low) ** 0.06);
    return [low / room, high * room];
  }
  const room = high > low ? 0.06 * (high - low) : Math.abs(high) / 2 || 1;
  return [low - room, high + room];
};
const suitsLog = (values) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low > 0 && high > 3 * low;
};
const logTicks = (low, high) => {
  const decades = Math.log10(high / low);
  const marks = decades > 3.2 ? [1] : decades > 1.4 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const mark of marks) {
      const tick = Number((mark * 10 ** power).toPrecision(6));
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks;
};
const evenTicks = (low, high, about) => {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((mark) => mark * power >= rough);
  const ticks = [];
  for (let place = Math.ceil(low / step); place * step <= high; place += 1) {
    ticks.push(Number((place * step).toPrecision(6)));
  }
  return ticks;
};
const tickText = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 6 });

const scaleAlong = ([low, high], log, from, to) => {
  const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
  return (value) => from + (((log ? Math.log(value) : value) - a) / (b - a)) * (to - from);
};

// An SVG with two axes, as wide as its place; `across` and `up` are {ends, log, title}.
const frame = (place, height, across, up) => {
  const width = Math.max(240, place.clientWidth);
  const upTicks = up.log ? logTicks(...up.ends) : evenTicks(...up.ends, 5);
  const left = 18 + 7 * Math.max(3, ...upTicks.map((tick) => tickText(tick).length)) + 14;
  const [right, top, bottom] = [14, 12, 44];
  const svg = drawing("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  svg.setAttribute("aria-label", `${up.title} over ${across.title}`);
  const x = scaleAlong(across.ends, across.log, left, width - right);
  const y = scaleAlong(up.ends, up.log, height - bottom, top);
  const about = Math.max(2, Math.floor((width - left) / 90));
  let ticks = across.log ? logTicks(...across.ends) : evenTicks(...across.ends, about);
  while (ticks.length > about + 2) ticks = ticks.filter((_, i) => i % 2 === 0);
  for (const tick of ticks) {
    const at = x(tick);
    svg.append(drawing("line", { class: "grid", x1: at, x2: at, y1: top, y2: height - bottom }));
    const middle = { x: at, y: height - bottom + 16, "text-anchor": "middle" };
    svg.append(drawing("text", middle, tickText(tick)));
  }
  for (const tick of upTicks) {
    const at = y(tick);
    svg.append(drawing("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
    svg.append(drawing("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, tickText(tick)));
  }
  const line = `M${left} ${top}V${height - bottom}H${width - right}`;
  svg.append(drawing("path", { class: "axis", d: line, fill: "none" }));
  const middle = (left + width - right) / 2;
  svg.append(drawing("text", { x: middle, y: height - 8, "text-anchor": "middle" }, across.title));
  const turned = `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`;
  svg.append(drawing("text", { transform: turned, "text-anchor": "middle" }, up.title));
  return { svg, x, y, width, height, left, right, top, bottom };
};

const showTip = (place, x, y, text) => {
  let tip = place.querySelector(".tip");
  if (!tip) place.append((tip = element("div", { class: "tip" })));
  tip.textContent = text;
  tip.hidden = false;
  const room = place.clientWidth - tip.offsetWidth - 4;
  tip.style.left = `${Math.max(2, Math.min(room, x + 12))}px`;
  const above = y - tip.offsetHeight - 10;
  tip.style.top = `${above > 2 ? above : Math.min(y + 14, place.clientHeight - tip.offsetHeight - 2)}px`;
};
const hideTip = (place) => {
  const tip = place.querySelector(".tip");
  if (tip) tip.hidden = true;
};

// A mark for every shape: circle, square or diamond.
const shape = (kind, x, y, radius, attributes) => {
  if (kind === "circle") return drawing("circle", { cx: x, cy: y, r: radius, ...attributes });
  const r = kind === "diamond" ? radius * 1.2 : radius * 0.9;
  const d =
    kind === "diamond"
      ? `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`
      : `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`;
  return drawing("path", { d, ...attributes });
};

// A table of anything, of which only the rows in view exist -------------------------------------------

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

// One design -------------------------------------------------------------------------------------

let opened = -1;

const quoted = (text) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
const setting = (name, row) => {
  const parameter = parameters.find((one) => one.name === name);
  return parameter ? level(parameter, row) : data.fixed[name];
};
const commandOf = (row) => {
  const words = ["nofm simulate", quoted(setting("workload", row) ?? "WORKLOAD")];
  for (const name of ["batch", "method", "pattern", "schedule"]) {
    const value = setting(name, row);
    if (value !== undefined) words.push(`--${name} ${quoted(value)}`);
  }
  for (const name of ["interleave", "pregeneration"]) {
    if (setting(name, row) === "off") words.push(`--no-${name}`);
  }
  words.push(`--hardware design-${data.design[row]}.toml`);
  return words.join(" ");
};
const tomlOf = (row) =>
  data.base
    .map((line) => {
      if (typeof line === "string") return line;
      const parameter = parameters.find((one) => one.name === data.hardware[line]);
      return parameter.toml[parameter.of[row]];
    })
    .join("\n");

const card = (what, figure, below = "") => {
  const made = element("li", {}, element("span", {}, what), element("b", {}, figure));
  if (below) made.append(element("small", {}, below));
  return made;
};

const openDesign = (row, { focus = true } = {}) => {
  opened = row;
  const number = data.design[row];
  const error = data.errors[data.error[row]];
  const kind = data.front[row] ? ", of the front" : data.feasible[row] ? "" : ", not feasible";
  byId("one").hidden = false;
  byId("one-title").textContent = `Design ${number}${kind}`;
  byId("one-error").hidden = !error;
  byId("one-error").textContent = error;
  byId("one-figures").replaceChildren(
    ...figures
      .filter((figure) => figure.values[row] !== null)
      .map((figure) => {
        const best = figures.length && data.best >= 0 && row !== data.best ? figure.values[data.best] : null;
        const ratio = best ? figure.values[row] / best : null;
        const against = ratio === null ? "" : `${ratio.toPrecision(3)}× design ${data.design[data.best]}`;
        return card(figure.title, amount(figure.values[row], figure.units), against);
      }),
  );
  byId("one-parameters").replaceChildren(
    ...parameters.flatMap((parameter) => [
      element("dt", {}, parameter.name),
      element("dd", {}, level(parameter, row)),
    ]),
  );
  byId("one-machine").hidden = !data.machine[row];
  byId("one-file").textContent = `design-${number}.toml`;
  byId("one-command").textContent = data.machine[row] ? commandOf(row) : "";
  byId("one-toml").textContent = data.machine[row] ? tomlOf(row) : "";
  const step = data.details[number];
  const drawn = step !== undefined && step.error === undefined;
  byId("one-step").hidden = !drawn;
  byId("one-unknown").hidden = step !== undefined || !data.machine[row];
  if (step !== undefined && step.error !== undefined) {
    byId("one-error").hidden = false;
    byId("one-error").textContent = step.error;
  }
  if (drawn) showStep(step);
  list.mark(rowClass);
  drawFront();
  if (focus) {
    byId("one").focus({ preventScroll: true });
    byId("one").scrollIntoView({ block: "start" });
  }
};

const stalledShare = (jobs, i) => jobs.stall_cycles[i] / jobs.cycles[i];

const showStep = (step) => {
  const { jobs, texts } = step;
  const dense = step.compared ? `, ${step.speedup.toFixed(2)}× as fast as dense` : "";
  byId("one-lead").textContent =
    `${step.title}: ${amount(step.cycles, data.units.count)} cycles${dense}, ` +
    `${percent(step.utilization)} % of the array used, ` +
    `${percent(step.stall_cycles / step.cycles)} % stalled.`;
  const all = jobs.cycles.map((_, i) => i);
  const causes = Object.keys(jobs.stalls);
  const parts = (i) => [
    [jobs.array[i] ? data.compute.array : data.compute.engine, jobs.compute_cycles[i]],
    ...causes.map((cause) => [data.stalls[cause][1], jobs.stalls[cause][i]]),
  ];
  const bar = (i) => {
    const made = element("span", { class: "bar" });
    for (const [colour, cycles] of parts(i)) {
      const share = (100 * cycles) / jobs.cycles[i];
      if (share < 0.5) continue;
      const piece = element("i");
      piece.style.width = `${share.toFixed(1)}%`;
      piece.style.background = colour;
      made.append(piece);
    }
    return made;
  };
  byId("one-legend").replaceChildren(
    ...[
      ["array computes", data.compute.array],
      ["another engine computes", data.compute.engine],
      ...causes.map((cause) => [`stall: ${data.stalls[cause][0]}`, data.stalls[cause][1]]),
    ].map(([name, colour]) => legendEntry(name, colour)),
  );
  const column = (title, of, units) => {
    const scale = scaleFor(largest(jobs[of]), units);
    const unit = units === data.units.count ? `${scale.unit}cycles` : `${title}\n${scale.unit}`;
    return { title: unit, text: (i) => scaledText(jobs[of][i], scale), value: (i) => jobs[of][i], first: -1 };
  };
  const word = (title, of, width) => {
    const text = (i) => texts[jobs[of][i]];
    return { title, text, value: text, left: true, width };
  };
  const longest = jobs.layer.reduce((most, i) => Math.max(most, texts[i].length), 0);
  const joules = { ...column("energy", "energy_pj", data.units.joules.map(([u, s]) => [u, s * 1e12])) };
  const columns = [
    word("layer", "layer", Math.min(26, longest)),
    word("stage", "stage", 6),
    column("", "cycles", data.units.count),
    {
      title: "cycles by use",
      cell: bar,
      text: () => "",
      value: (i) => stalledShare(jobs, i),
      first: -1,
      left: true,
      width: 13,
    },
    { title: "util.\n%", text: (i) => percent(jobs.utilization[i]), value: (i) => jobs.utilization[i], first: -1, width: 5 },
    { title: "stalled\n%", text: (i) => percent(stalledShare(jobs, i)), value: (i) => stalledShare(jobs, i), first: -1, width: 5 },
    word("N:M", "pattern", 5),
    word("on", "dataflow", 9),
    word("tile", "tile", 16),
    column("DRAM", "dram_bytes", data.units.bytes),
    joules,
  ];
  if (step.compared) {
    const text = (i) => (jobs.speedup[i] ? jobs.speedup[i].toFixed(2) : "–");
    columns.splice(3, 0, { title: "speedup", text, value: (i) => jobs.speedup[i], first: -1, width: 6 });
  }
  virtualTable(byId("one-jobs"), "Jobs of the training step", columns).show(all);
  drawRoofline(step);
  drawTimeline(step);
  const used = Object.keys(data.stages).filter((stage) => jobs.stage.some((i) => texts[i] === stage));
  byId("one-stages").replaceChildren(
    ...used.map((stage) => legendEntry(data.stages[stage][0], data.stages[stage][1])),
    ...["circle", "square", "diamond"].flatMap((kind, i) => {
      const flow = ["ws", "os", "ws+os"][i];
      const there = step.roofline && step.roofline.points.some((point) => point.dataflow === flow);
      if (!there) return [];
      const svg = drawing("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
      svg.append(shape(kind, 8, 8, 6, { class: "mark", fill: "currentColor" }));
      return [element("li", {}, svg, flow.toUpperCase().replace("+", " and "))];
    }),
  );
  byId("one-notes").replaceChildren(...step.notes.map((note) => element("li", {}, note)));
};

const figureLegend = () => {
  const entries = [["front", "circle", "var(--front)"], ["other feasible designs", "circle", "var(--other)"]];
  if (data.best >= 0) {
    const name = `least product of the objectives: design ${data.design[data.best]}`;
    entries.unshift([name, "diamond", "var(--best)"]);
  }
  byId("plot-legend").replaceChildren(
    ...entries.map(([name, kind, fill]) => {
      const svg = drawing("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
      svg.append(shape(kind, 8, 8, 6, { style: `fill: ${fill}` }));
      return element("li", {}, svg, name);
    }),
    element("li", {}, "* objective"),
  );
};

const legendEntry = (name, colour) => {
  const patch = element("i");
  patch.style.background = colour;
  return element("li", {}, patch, name);
};

const MARKS = { ws: "circle", os: "square", "ws+os": "diamond" };

const drawRoofline = (step) => {
  const place = byId("one-roofline").querySelector(".plot");
  byId("one-roofline").hidden = !step.roofline;
  if (!step.roofline) return;
  const { points, peaks, bandwidth_gbps: bandwidth } = step.roofline;
  const top = Math.max(...peaks.map(([peak]) => peak));
  const knee = top / bandwidth;
  const xs = [...points.map((point) => point.x), Math.min(...peaks.map(([peak]) => peak)) / bandwidth, knee * 2];
  const across = { ends: ends(xs, true), log: true, title: "MAC / DRAM byte" };
  const floor = Math.min(...points.map((point) => point.y));
  const up = { ends: [floor / 1.6, top * 1.7], log: true, title: "GMAC/s" };
  const plot = frame(place, 320, across, up);
  const { svg, x, y } = plot;
  const start = Math.max(across.ends[0], up.ends[0] / bandwidth);
  svg.append(drawing("path", { class: "roof", d: `M${x(start)} ${y(start * bandwidth)}L${x(knee)} ${y(top)}` }));
  for (const [peak, name] of peaks) {
    svg.append(drawing("path", { class: "roof", d: `M${x(peak / bandwidth)} ${y(peak)}H${plot.width - plot.right}` }));
    const end = { x: plot.width - plot.right - 2, y: y(peak) - 4, "text-anchor": "end", class: "small" };
    svg.append(drawing("text", end, `${name} ${peak.toLocaleString("en-US", { maximumSignificantDigits: 4 })}`));
  }
  const slanted = Math.sqrt(start * knee);
  const angle = (Math.atan2(y(top) - y(start * bandwidth), x(knee) - x(start)) * 180) / Math.PI;
  const along = `translate(${x(slanted)} ${y(slanted * bandwidth)}) rotate(${angle})`;
  svg.append(drawing("text", { transform: along, dy: -5, "text-anchor": "middle", class: "small" }, `DRAM ${bandwidth} GB/s`));
  const most = Math.max(...points.map((point) => point.cycles));
  for (const point of points) {
    const radius = Math.sqrt(14 + 110 * (point.cycles / most));
    const more = point.layers.length > 1 ? ` and ${point.layers.length - 1} more` : "";
    const mark = shape(MARKS[point.dataflow], x(point.x), y(point.y), radius / 1.6, {
      fill: data.stages[point.stage][1],
      stroke: "var(--back)",
      "stroke-width": 0.8,
    });
    const text = `${point.layers[0]} ${point.stage.toUpperCase()}${more}\n${point.pattern}, ${amount(point.cycles, data.units.count)} cycles\n${tickText(point.y)} GMAC/s at ${tickText(point.x)} MAC/byte`;
    mark.append(drawing("title", {}, text));
    svg.append(mark);
  }
  place.replaceChildren(svg);
};

const drawTimeline = (step) => {
  const place = byId("one-timeline").querySelector(".plot");
  const { jobs, texts } = step;
  const lanes = ["array", "vector", "wuve", "sore"].filter((lane) =>
    jobs.engines.some((engines) => engines.includes(lane)),
  );
  const names = { array: "array", vector: "vector", wuve: "WUVE", sore: "SORE" };
  const width = Math.max(240, place.clientWidth);
  const [left, right, lane, gap, use, bottom] = [58, 14, 26, 14, 90, 42];
  const under = 8 + lanes.length * lane + gap;
  const height = under + use + bottom;
  const seconds = step.cycles / step.clock_hz;
  const scale = scaleFor(seconds, data.units.seconds);
  const svg = drawing("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  svg.setAttribute("aria-label", "Timeline of the training step");
  const x = scaleAlong([0, seconds / scale.size], false, left, width - right);
  const at = (cycle) => x(cycle / step.clock_hz / scale.size);
  for (const tick of evenTicks(0, seconds / scale.size, Math.max(2, Math.floor(width / 90)))) {
    svg.append(drawing("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 8, y2: under + use }));
    svg.append(drawing("text", { x: x(tick), y: under + use + 16, "text-anchor": "middle" }, tickText(tick)));
  }
  svg.append(drawing("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, `time (${scale.unit})`));
  lanes.forEach((name, row) => {
    const y = 8 + row * lane;
    svg.append(drawing("text", { x: left - 6, y: y + 17, "text-anchor": "end" }, names[name]));
    for (const [stage, [, colour]] of Object.entries(data.stages)) {
      let d = "";
      jobs.engines.forEach((engines, i) => {
        if (!engines.includes(name) || texts[jobs.stage[i]] !== stage) return;
        const from = at(jobs.start_cycle[i]);
        const to = at(jobs.start_cycle[i] + jobs.cycles[i]);
        d += `M${from.toFixed(2)} ${y + 3}H${to.toFixed(2)}v${lane - 6}H${from.toFixed(2)}Z`;
      });
      if (d) svg.append(drawing("path", { d, fill: colour }));
    }
  });
  const y = (share) => under + use * (1 - Math.min(1, share));
  let [dram, array] = [`M${left} ${y(0)}`, ""];
  jobs.cycles.forEach((cycles, i) => {
    const [from, to] = [at(jobs.start_cycle[i]).toFixed(2), at(jobs.start_cycle[i] + cycles).toFixed(2)];
    dram += `L${from} ${y(jobs.dram_bytes[i] / (cycles * step.peak_bytes_per_cycle)).toFixed(2)}H${to}`;
    // Without the jumps between jobs, which would hide what lies behind them.
    array += `M${from} ${y(jobs.utilization[i]).toFixed(2)}H${to}`;
  });
  svg.append(drawing("path", { class: "dram", d: `${dram}V${y(0)}Z` }));
  svg.append(drawing("path", { class: "used", d: array }));
  for (const share of [0, 0.5, 1]) {
    svg.append(drawing("line", { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }));
    svg.append(drawing("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
  }
  place.replaceChildren(svg);
};

// The filter --------------------------------------------------------------------------------------

let shown = designs;
const MANY = 60;
const limits = [];

const addFilters = () => {
  const form = byId("filter");
  for (const parameter of parameters.filter((one) => one.varies)) {
    if (parameter.levels.length <= MANY) {
      const select = element("select", {}, element("option", { value: "" }, "any"));
      parameter.levels.forEach((text, i) => select.append(element("option", { value: i }, text)));
      form.append(element("label", {}, `${parameter.name} `, select));
      limits.push((row) => select.value === "" || parameter.of[row] === Number(select.value));
    } else if (parameter.numeric) {
      addBound(form, `${parameter.name} from `, (row) => parameter.values[parameter.of[row]], 1);
      addBound(form, "to ", (row) => parameter.values[parameter.of[row]], -1);
    }
  }
  figures.forEach((figure, place) => {
    if (!figure.objective) return;
    const sign = figure.maximise ? 1 : -1;
    const size = scales[place].size;
    const value = (row) => (figure.values[row] === null ? null : figure.values[row] / size);
    addBound(form, `${figureTitle(place)} at ${sign > 0 ? "least" : "most"} `, value, sign);
  });
};
const addBound = (form, name, value, sign) => {
  const input = element("input", { type: "number", step: "any" });
  form.append(element("label", {}, name, input));
  limits.push((row) => {
    if (input.value === "") return true;
    const found = value(row);
    return found !== null && sign * found >= sign * Number(input.value);
  });
};
const filter = () => {
  const which = byId("which").value;
  const kept = {
    "": () => true,
    front: (row) => data.front[row],
    feasible: (row) => data.feasible[row],
    infeasible: (row) => !data.feasible[row],
  }[which];
  shown = designs.filter((row) => kept(row) && limits.every((limit) => limit(row)));
  const inFront = shown.filter((row) => data.front[row]).length;
  const held = designs.length === data.counts.designs ? "" : " that the page holds";
  byId("shown").textContent =
    `${shown.length.toLocaleString("en-US")} of ${designs.length.toLocaleString("en-US")} designs${held}, ` +
    `${inFront.toLocaleString("en-US")} of the front`;
  list.show(shown);
  drawFront();
};

const rowClass = (row) => `${data.front[row] ? "front" : ""} ${row === opened ? "open" : ""}`.trim();
const longestOf = (texts) => texts.reduce((most, text) => Math.max(most, text.length), 0);
const list = virtualTable(
  byId("table"),
  "Designs",
  [
    {
      title: "design",
      text: (row) => String(data.design[row]),
      value: (row) => data.design[row],
      hint: (row) => `Open design ${data.design[row]}`,
      width: 6,
    },
    {
      title: "kind",
      text: (row) => (data.front[row] ? "front" : data.feasible[row] ? "" : "infeasible"),
      value: (row) => (data.front[row] ? 0 : data.feasible[row] ? 1 : 2),
      left: true,
      width: 8,
    },
    ...parameters
      .filter((parameter) => parameter.varies)
      .map((parameter) => ({
        title: parameter.name.replace(".", ".\n"),
        text: (row) => level(parameter, row),
        value: (row) => (parameter.numeric ? parameter.values[parameter.of[row]] : level(parameter, row)),
        left: !parameter.numeric,
        width: Math.min(18, longestOf(parameter.levels)),
      })),
    ...figures.map((figure, place) => ({
      title: `${figure.title}${figure.objective ? "\u00a0*" : ""}\n${scales[place].unit}`.trimEnd(),
      text: (row) => figureText(place, row),
      value: (row) => figure.values[row],
      first: figure.maximise ? -1 : 1,
      width: 8,
    })),
    ...(data.errors.some((text) => text)
      ? [
          {
            title: "why not",
            text: (row) => data.errors[data.error[row]],
            value: (row) => data.errors[data.error[row]],
            left: true,
            width: 40,
          },
        ]
      : []),
  ],
  { open: (row) => openDesign(row), rowClass },
);

// The front ---------------------------------------------------------------------------------------

const plotPlace = byId("plot");
const selects = { across: byId("across"), up: byId("up") };
let spots = [];
let pointed = -1;

const describe = (row) => {
  const varying = parameters.filter((one) => one.varies).map((one) => `${one.name} ${level(one, row)}`);
  const found = figures
    .filter((figure) => figure.objective)
    .map((figure) => `${figure.title} ${amount(figure.values[row], figure.units)}`);
  return `design ${data.design[row]}${data.front[row] ? ", of the front" : ""}\n${varying.join(", ")}\n${found.join(", ")}`;
};

const drawFront = () => {
  const [a, b] = [Number(selects.across.value), Number(selects.up.value)];
  const plotted = (rows) =>
    rows.filter((row) => data.feasible[row] && figures[a]?.values[row] != null && figures[b].values[row] != null);
  const all = plotted(designs);
  hideTip(plotPlace);
  if (!all.length) {
    plotPlace.replaceChildren(element("p", { class: "notice" }, "No feasible design: nothing to plot."));
    spots = [];
    return;
  }
  const axis = (place) => {
    const values = all.map((row) => figures[place].values[row] / scales[place].size);
    const log = suitsLog(values);
    return { ends: ends(values, log), log, title: figureTitle(place) };
  };
  const height = Math.max(260, Math.min(440, plotPlace.clientWidth * 0.6));
  const plot = frame(plotPlace, height, axis(a), axis(b));
  const { svg } = plot;
  const spot = (row) => ({
    row,
    x: plot.x(figures[a].values[row] / scales[a].size),
    y: plot.y(figures[b].values[row] / scales[b].size),
  });
  spots = plotted(shown).map(spot);
  const others = spots.filter(({ row }) => !data.front[row]);
  // A dot is a line without length and with a round cap: all of them are one path.
  const dots = others.map(({ x, y }) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  svg.append(drawing("path", { class: "others", d: dots }));
  const front = spots.filter(({ row }) => data.front[row]);
  const objectives = figures.filter((figure) => figure.objective);
  if (objectives.length === 2 && a !== b && figures[a].objective && figures[b].objective) {
    const sign = figures[a].maximise ? -1 : 1;
    const path = front
      .slice()
      .sort((one, other) => sign * (one.x - other.x))
      .map(({ x, y }, i) => (i ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`));
    svg.append(drawing("path", { class: "stair", d: path.join("") }));
  }
  for (const { row, x, y } of front) {
    const best = row === data.best;
    svg.append(shape(best ? "diamond" : "circle", x, y, best ? 6.5 : 5, { class: best ? "best" : "front", "data-design": data.design[row] }));
  }
  const current = spots.find(({ row }) => row === opened);
  if (current) svg.append(drawing("circle", { class: "open", cx: current.x, cy: current.y, r: 10 }));
  plotPlace.replaceChildren(svg);
  pointed = -1;
};

const point = (found, aloud) => {
  pointed = found ? found.row : -1;
  plotPlace.querySelector(".ring")?.remove();
  if (!found) {
    hideTip(plotPlace);
    return;
  }
  plotPlace.querySelector("svg").append(drawing("circle", { class: "ring", cx: found.x, cy: found.y, r: 8 }));
  showTip(plotPlace, found.x, found.y, describe(found.row));
  if (aloud) byId("pointed").textContent = describe(found.row);
};
const nearest = (event) => {
  const box = plotPlace.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left - plotPlace.clientLeft, event.clientY - box.top - plotPlace.clientTop];
  let found = null;
  let least = 24 ** 2;
  for (const spot of spots) {
    // The front lies on top, and is easier to hit.
    const far = ((spot.x - x) ** 2 + (spot.y - y) ** 2) * (data.front[spot.row] ? 0.5 : 1);
    if (far < least) [found, least] = [spot, far];
  }
  return found;
};
plotPlace.addEventListener("pointermove", (event) => {
  const found = nearest(event);
  if ((found ? found.row : -1) !== pointed) point(found, false);
});
plotPlace.addEventListener("pointerleave", () => point(null, false));
plotPlace.addEventListener("click", (event) => {
  const found = nearest(event);
  if (found) openDesign(found.row);
});
plotPlace.addEventListener("keydown", (event) => {
  const front = spots.filter(({ row }) => data.front[row]).sort((a, b) => a.x - b.x || a.y - b.y);
  const place = front.findIndex(({ row }) => row === pointed);
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (step && front.length) {
    event.preventDefault();
    const next = place < 0 ? (step > 0 ? 0 : front.length - 1) : (place + step + front.length) % front.length;
    point(front[next], true);
  } else if (event.key === "Enter" && pointed >= 0) {
    event.preventDefault();
    openDesign(pointed);
  } else if (event.key === "Escape") {
    point(null, false);
  }
});

for (const [which, select] of Object.entries(selects)) {
  figures.forEach((figure, place) => {
    if (!known(figure.values).length) return;
    const mark = figure.objective ? " *" : "";
    select.append(element("option", { value: place }, `${figure.title}${mark}`));
  });
  const start = which === "across" ? 0 : Math.min(1, select.options.length - 1);
  if (select.options.length) select.selectedIndex = start;
  select.addEventListener("change", drawFront);
}
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => event.preventDefault());
}
figureLegend();
addFilters();
byId("filter").addEventListener("input", filter);
filter();
if (data.best >= 0) openDesign(data.best, { focus: false });

let wide = plotPlace.clientWidth;
new ResizeObserver(() => {
  if (plotPlace.clientWidth === wide) return;
  wide = plotPlace.clientWidth;
  drawFront();
  const step = opened >= 0 ? data.details[data.design[opened]] : undefined;
  if (step && step.error === undefined) {
    drawRoofline(step);
    drawTimeline(step);
  }
}).observe(plotPlace);

