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
const percent = (share) =>
  share >= 0.9995 ? "100" : scaledText(share, { size: 0.01, decimals: 1 });
const known = (values) => values.filter((value) => value !== null);
const largest = (values) => values.reduce((most, value) => Math.max(most, value ?? 0), 0);
// The unit suits the middle of a column, in proportion, so that neither end has too many digits.
const middle = (values) => {
  const some = known(values).map(Math.abs).filter((value) => value > 0);
  if (!some.length) return 0;
  const low = some.reduce((a, b) => Math.min(a, b));
  const high = some.reduce((a, b) => Math.max(a, b));
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
