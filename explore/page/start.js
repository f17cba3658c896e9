// What happens when the page opens and when its window changes.
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
