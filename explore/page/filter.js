// The table of designs and its filter.
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
const count = (number) => number.toLocaleString("en-US");
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
    `${count(shown.length)} of ${count(designs.length)} designs${held}, ` +
    `${count(inFront)} of the front`;
  list.show(shown);
  drawFront();
};

const rowClass = (row) =>
  `${data.front[row] ? "front" : ""} ${row === opened ? "open" : ""}`.trim();
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
        value: (row) =>
          parameter.numeric ? parameter.values[parameter.of[row]] : level(parameter, row),
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
