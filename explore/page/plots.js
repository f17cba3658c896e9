// Axes, ticks, tips and marks, which every plot shares.
const span = (values) => {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
};
const ends = (values, log) => {
  const [low, high] = span(values);
  if (log) {
    const room = Math.max(1.15, (high / low) ** 0.06);
    return [low / room, high * room];
  }
  const room = high > low ? 0.06 * (high - low) : Math.abs(high) / 2 || 1;
  return [low - room, high + room];
};
const suitsLog = (values) => {
  const [low, high] = span(values);
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
  const below = Math.min(y + 14, place.clientHeight - tip.offsetHeight - 2);
  tip.style.top = `${above > 2 ? above : below}px`;
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
