// One design: its figures, its accelerator, the jobs of its step.
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
        const other = data.best >= 0 && row !== data.best;
        const best = other ? figure.values[data.best] : null;
        const ratio = best ? figure.values[row] / best : null;
        const name = `design ${data.design[data.best]}`;
        const against = ratio === null ? "" : `${ratio.toPrecision(3)}× ${name}`;
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
    const text = (i) => scaledText(jobs[of][i], scale);
    return { title: unit, text, value: (i) => jobs[of][i], first: -1 };
  };
  const word = (title, of, width) => {
    const text = (i) => texts[jobs[of][i]];
    return { title, text, value: text, left: true, width };
  };
  const longest = jobs.layer.reduce((most, i) => Math.max(most, texts[i].length), 0);
  const share = (title, value) => ({
    title,
    text: (i) => percent(value(i)),
    value,
    first: -1,
    width: 5,
  });
  const picojoules = data.units.joules.map(([unit, size]) => [unit, size * 1e12]);
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
    share("util.\n%", (i) => jobs.utilization[i]),
    share("stalled\n%", (i) => stalledShare(jobs, i)),
    word("N:M", "pattern", 5),
    word("on", "dataflow", 9),
    word("tile", "tile", 16),
    column("DRAM", "dram_bytes", data.units.bytes),
    column("energy", "energy_pj", picojoules),
  ];
  if (step.compared) {
    const text = (i) => (jobs.speedup[i] ? jobs.speedup[i].toFixed(2) : "–");
    const value = (i) => jobs.speedup[i];
    columns.splice(3, 0, { title: "speedup", text, value, first: -1, width: 6 });
  }
  virtualTable(byId("one-jobs"), "Jobs of the training step", columns).show(all);
  drawRoofline(step);
  drawTimeline(step);
  const stages = new Set(jobs.stage.map((i) => texts[i]));
  const used = Object.keys(data.stages).filter((stage) => stages.has(stage));
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
  const entries = [
    ["front", "circle", "var(--front)"],
    ["other feasible designs", "circle", "var(--other)"],
  ];
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
