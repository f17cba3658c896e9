// The plot of all designs and their front.
const plotPlace = byId("plot");
const selects = { across: byId("across"), up: byId("up") };
let spots = [];
let pointed = -1;

const describe = (row) => {
  const varying = parameters
    .filter((one) => one.varies)
    .map((one) => `${one.name} ${level(one, row)}`);
  const found = figures
    .filter((figure) => figure.objective)
    .map((figure) => `${figure.title} ${amount(figure.values[row], figure.units)}`);
  const kind = data.front[row] ? ", of the front" : "";
  return `design ${data.design[row]}${kind}\n${varying.join(", ")}\n${found.join(", ")}`;
};

const drawFront = () => {
  const [a, b] = [Number(selects.across.value), Number(selects.up.value)];
  const plotted = (rows) =>
    rows.filter(
      (row) =>
        data.feasible[row] && figures[a]?.values[row] != null && figures[b].values[row] != null,
    );
  const all = plotted(designs);
  hideTip(plotPlace);
  if (!all.length) {
    const nothing = "No feasible design: nothing to plot.";
    plotPlace.replaceChildren(element("p", { class: "notice" }, nothing));
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
      .map((one) => [one.x.toFixed(1), one.y.toFixed(1)])
      .map(([x, y], i) => (i ? `H${x}V${y}` : `M${x} ${y}`));
    svg.append(drawing("path", { class: "stair", d: path.join("") }));
  }
  for (const { row, x, y } of front) {
    const best = row === data.best;
    const [kind, radius, name] = best ? ["diamond", 6.5, "best"] : ["circle", 5, "front"];
    svg.append(shape(kind, x, y, radius, { class: name, "data-design": data.design[row] }));
  }
  const current = spots.find(({ row }) => row === opened);
  if (current) svg.append(shape("circle", current.x, current.y, 10, { class: "open" }));
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
  plotPlace.querySelector("svg").append(shape("circle", found.x, found.y, 8, { class: "ring" }));
  showTip(plotPlace, found.x, found.y, describe(found.row));
  if (aloud) byId("pointed").textContent = describe(found.row);
};
const nearest = (event) => {
  const box = plotPlace.getBoundingClientRect();
  const x = event.clientX - box.left - plotPlace.clientLeft;
  const y = event.clientY - box.top - plotPlace.clientTop;
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
    const from = place < 0 && step < 0 ? 0 : place;
    const next = (from + step + front.length) % front.length;
    point(front[next], true);
  } else if (event.key === "Enter" && pointed >= 0) {
    event.preventDefault();
    openDesign(pointed);
  } else if (event.key === "Escape") {
    point(null, false);
  }
});
