// Axes: from values to places and to ticks. A scale says which values it can show at all.
function niceStep(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough) ?? 10 * power;
}

function linearScale(low, high, from, to, count = 4) {
  if (high <= low) [low, high] = [low - 0.5 * (Math.abs(low) || 1), low + 0.5 * (Math.abs(low) || 1)];
  const place = (value) => from + ((value - low) / (high - low)) * (to - from);
  const step = niceStep(high - low, count);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(i * step);
  return { place, ticks: ticks.map((t) => [t, shown(Number(t.toPrecision(12)))]) };
}

// The finest of these series that has few enough members between the ends.
function logTicks(low, high, most) {
  const series = [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map((factors) => [factors, 1]);
  for (let every = 2; every < 40; every++) series.push([[1], every]);
  for (const [factors, every] of series) {
    const values = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1; power++) {
      if (power % every) continue;
      for (const factor of factors) {
        const value = Number((factor * 10 ** power).toPrecision(3));
        if (value >= low * 0.999 && value <= high * 1.001) values.push(value);
      }
    }
    if (values.length <= most) return values.length ? values : [Number(low.toPrecision(2))];
  }
  return [];
}

// Logarithmic; with a floor, zero has a place below the least value.
function logScale(low, high, from, to, count = 4, floor = false) {
  const bottom = Math.log10(low), top = Math.max(Math.log10(high), bottom + 0.05);
  const start = floor ? from + (to - from) * 0.1 : from;
  const place = (value) =>
    value > 0 ? start + ((Math.log10(value) - bottom) / (top - bottom)) * (to - start) : from;
  const ticks = logTicks(low, high, count + 1).map((value) => [value, shown(value)]);
  if (floor) ticks.unshift([0, "0"]);
  return { place, ticks };
}

// Doubly logarithmic, for step numbers: the time in which collapse is a straight line.
function logLogScale(low, high, from, to) {
  const inner = (value) => Math.log(Math.log(Math.max(value, 3)));
  const bottom = inner(low), top = Math.max(inner(high), bottom + 1e-6);
  const place = (value) => from + ((inner(value) - bottom) / (top - bottom)) * (to - from);
  const ticks = [];
  for (let power = 0; power <= Math.ceil(Math.log10(high)); power++) {
    const value = 10 ** power;
    if (value >= low && value <= high * 1.001) ticks.push([value, shown(value)]);
  }
  if (ticks.length < 2) ticks.splice(0, ticks.length, [low, shown(low)], [high, shown(high)]);
  return { place, ticks };
}
