// The roofline and the timeline of a step.
const MARKS = { ws: "circle", os: "square", "ws+os": "diamond" };

const drawRoofline = (step) => {
  const place = byId("one-roofline").querySelector(".plot");
  byId("one-roofline").hidden = !step.roofline;
  if (!step.roofline) return;
  const { points, peaks, bandwidth_gbps: bandwidth } = step.roofline;
  const top = Math.max(...peaks.map(([peak]) => peak));
  const knee = top / bandwidth;
  const lowest = Math.min(...peaks.map(([peak]) => peak));
  const xs = [...points.map((point) => point.x), lowest / bandwidth, knee * 2];
  const across = { ends: ends(xs, true), log: true, title: "MAC / DRAM byte" };
  const floor = Math.min(...points.map((point) => point.y));
  const up = { ends: [floor / 1.6, top * 1.7], log: true, title: "GMAC/s" };
  const plot = frame(place, 320, across, up);
  const { svg, x, y } = plot;
  const start = Math.max(across.ends[0], up.ends[0] / bandwidth);
  const roof = (d) => svg.append(drawing("path", { class: "roof", d }));
  roof(`M${x(start)} ${y(start * bandwidth)}L${x(knee)} ${y(top)}`);
  for (const [peak, name] of peaks) {
    const end = plot.width - plot.right;
    roof(`M${x(peak / bandwidth)} ${y(peak)}H${end}`);
    const at = { x: end - 2, y: y(peak) - 4, "text-anchor": "end", class: "small" };
    const rate = peak.toLocaleString("en-US", { maximumSignificantDigits: 4 });
    svg.append(drawing("text", at, `${name} ${rate}`));
  }
  const slanted = Math.sqrt(start * knee);
  const angle = (Math.atan2(y(top) - y(start * bandwidth), x(knee) - x(start)) * 180) / Math.PI;
  const along = `translate(${x(slanted)} ${y(slanted * bandwidth)}) rotate(${angle})`;
  const slope = { transform: along, dy: -5, "text-anchor": "middle", class: "small" };
  svg.append(drawing("text", slope, `DRAM ${bandwidth} GB/s`));
  const most = Math.max(...points.map((point) => point.cycles));
  for (const point of points) {
    const radius = Math.sqrt(14 + 110 * (point.cycles / most));
    const more = point.layers.length > 1 ? ` and ${point.layers.length - 1} more` : "";
    const mark = shape(MARKS[point.dataflow], x(point.x), y(point.y), radius / 1.6, {
      fill: data.stages[point.stage][1],
      stroke: "var(--back)",
      "stroke-width": 0.8,
    });
    const text =
      `${point.layers[0]} ${point.stage.toUpperCase()}${more}\n` +
      `${point.pattern}, ${amount(point.cycles, data.units.count)} cycles\n` +
      `${tickText(point.y)} GMAC/s at ${tickText(point.x)} MAC/byte`;
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
    const line = { class: "grid", x1: x(tick), x2: x(tick), y1: 8, y2: under + use };
    const below = { x: x(tick), y: under + use + 16, "text-anchor": "middle" };
    svg.append(drawing("line", line), drawing("text", below, tickText(tick)));
  }
  const title = { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" };
  svg.append(drawing("text", title, `time (${scale.unit})`));
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
    const from = at(jobs.start_cycle[i]).toFixed(2);
    const to = at(jobs.start_cycle[i] + cycles).toFixed(2);
    const traffic = jobs.dram_bytes[i] / (cycles * step.peak_bytes_per_cycle);
    dram += `L${from} ${y(traffic).toFixed(2)}H${to}`;
    // Without the jumps between jobs, which would hide what lies behind them.
    array += `M${from} ${y(jobs.utilization[i]).toFixed(2)}H${to}`;
  });
  svg.append(drawing("path", { class: "dram", d: `${dram}V${y(0)}Z` }));
  svg.append(drawing("path", { class: "used", d: array }));
  for (const share of [0, 0.5, 1]) {
    const line = { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) };
    const beside = { x: left - 6, y: y(share) + 4, "text-anchor": "end" };
    svg.append(drawing("line", line), drawing("text", beside, `${100 * share} %`));
  }
  place.replaceChildren(svg);
};
