// A metric at the last measurement of each run, over a setting in which the runs differ.
function setUpSweep(data) {
  const plot = document.getElementById("sweep-plot");
  if (!plot) return;
  const [metric, setting] = ["metric", "setting"].map((name) => document.querySelector(`[name=sweep-${name}]`));
  let drawn = null, rows = [];

  function draw() {
    const chart = data.charts.find(({ name }) => name === metric.value);
    rows = data.runs.flatMap((run, r) => ["", "test_"].map((prefix) => {
      const values = run.curves.series[prefix + chart.name] ?? [];
      return { run, r, test: prefix !== "", x: data.settings[setting.value][r], y: values.findLast((v) => v !== null) ?? null };
    })).filter(({ x, y, r }) => x !== null && y !== null && !muted(r));
    if (!rows.length) { plot.replaceChildren(html("p", "not measured", "empty")); return; }
    const ends = (values) => [Math.min(...values), Math.max(...values)];
    const scale = ([low, high], log, count) => (from, to) => log
      ? logScale(low / 1.3, high * 1.3, from, to, count)
      : linearScale(low - 0.06 * (high - low), high + 0.06 * (high - low), from, to, count);
    const xs = ends(rows.map(({ x }) => x)), ys = ends(rows.map(({ y }) => y));
    const wide = ([low, high]) => low > 0 && high > 8 * low;
    drawn = new Chart(plot, {
      xScale: scale(xs, wide(xs), 5), yScale: scale(ys, wide(ys), 3), height: 240,
      label: `${chart.title} over ${setting.value}`,
      xLabel: `${setting.value.replaceAll("_", " ")}${wide(xs) ? ", log" : ""}`,
      yLabel: `${chart.unit}${wide(ys) ? ", log" : ""}`,
    });
    for (const { run, test, x, y } of rows) {
      const dot = drawn.dot(x, y, colour(run.group), 4.5);
      if (test) dot.setAttribute("style", `fill:none;stroke-width:1.8;stroke:${colour(run.group)}`);
      dot.append(svg("title", {}, `${run.name}, ${test ? "test" : "train"}: ${shown(y)}`));
    }
  }

  document.querySelectorAll("#sweep select, [data-mute]").forEach((control) => control.addEventListener("change", draw));
  redrawn(plot, draw);
  savable(document.querySelector("#sweep figcaption"), () => ({
    name: `${metric.value}-over-${setting.value}`, root: drawn?.root,
    rows: [["run", "data", setting.value, metric.value], ...rows.map(({ run, test, x, y }) => [run.name, test ? "test" : "train", x, y])],
  }));
}
