// Every metric over time, all runs in one chart, one cursor in all charts.
function setUpCurves(data) {
  const section = document.getElementById("curves");
  const read = document.getElementById("read");
  if (!read) return;
  const state = { x: "linear", y: "log", split: "both" };
  const epochs = [...new Set(data.runs.flatMap((run) => run.curves.epoch))].sort((a, b) => a - b);
  const figures = [...section.querySelectorAll("[data-chart]")].map((figure) => ({
    figure,
    plot: figure.querySelector(".plot"),
    values: figure.querySelector(".values"),
    chart: data.charts.find((chart) => chart.name === figure.dataset.chart),
    drawn: null,
    cursor: null,
  }));

  // The curves of one chart: name, colour, dash, values, whether of test data.
  function series(chart) {
    const several = data.runs.length > 1;
    return data.runs.flatMap((run, r) =>
      ["", "test_"].map((prefix) => ({
        run, test: prefix !== "",
        name: several ? `${run.name}${prefix ? ", test" : ""}` : prefix ? "test" : "train",
        colour: colour(several ? r : prefix ? 1 : 0),
        values: run.curves.series[prefix + chart.name],
      }))).filter(({ values, test }) =>
        values && (state.split === "both" || (state.split === "test") === test));
  }

  const logarithmic = (chart) => state.y === "log" && chart.kind !== "signed";
  // Near 1 a share says nothing on a log axis; what it lacks does.
  const seen = (chart, value) =>
    value === null ? null : logarithmic(chart) && chart.kind === "share" ? Math.max(1 - value, 0) : value;
  const time = (run) => (state.x === "loglog" ? run.curves.step : run.curves.epoch);

  function xScale(lines) {
    const all = lines.flatMap(({ run }) => time(run)).filter((x) => x !== null);
    const low = Math.min(...all), high = Math.max(...all);
    return (from, to) => {
      if (state.x === "loglog") return logLogScale(Math.max(low, 3), Math.max(high, 4), from, to);
      if (state.x === "log") return logScale(Math.max(low, 1), Math.max(high, 2), from, to);
      return linearScale(low, high, from, to);
    };
  }

  function yScale(chart, lines) {
    const all = lines.flatMap(({ values }) => values.map((v) => seen(chart, v)).filter((v) => v !== null));
    if (chart.collapsed !== null) all.push(chart.collapsed);
    if (logarithmic(chart)) {
      const above = all.filter((v) => v > 0);
      const floor = all.some((v) => v <= 0);
      const low = above.length ? Math.min(...above) : 0.1, high = above.length ? Math.max(...above) : 1;
      return (from, to) => logScale(low / 1.2, high * 1.2, from, to, 3, floor);
    }
    const high = all.length ? Math.max(...all) : 1;
    let low = all.length ? Math.min(...all) : 0;
    if (chart.kind === "distance") low = Math.min(low, 0);
    const room = 0.04 * (high - low);
    return (from, to) => linearScale(low - (chart.kind === "distance" ? 0 : room), high + room, from, to, 3);
  }

  function draw(entry) {
    const { chart, plot, figure } = entry;
    const lines = series(chart);
    figure.querySelector("b").textContent =
      logarithmic(chart) && chart.kind === "share" ? `1 − ${chart.title}` : chart.title;
    if (!lines.length) {
      plot.replaceChildren(html("p", `not measured on ${state.split} data`, "empty"));
      entry.drawn = null;
      return;
    }
    const drawn = new Chart(plot, { xScale: xScale(lines), yScale: yScale(chart, lines), label: chart.title });
    if (data.runs.length === 1 && data.runs[0].curves.fitted !== null) {
      const { epoch, step, fitted } = data.runs[0].curves;
      const i = Math.max(epoch.findIndex((e) => e >= fitted), 0);
      drawn.upright(state.x === "loglog" ? step[i] : Math.max(epoch[i], 1), "mark");
    }
    if (chart.collapsed !== null) drawn.level(chart.collapsed, "aim", "collapse");
    for (const line of lines) {
      const values = line.values.map((value) => seen(chart, value));
      drawn.curve(time(line.run), values, line.colour, line.test);
    }
    entry.drawn = drawn;
    entry.cursor = drawn.upright(0, "cursor");
    point(entry);
  }

  // Move the cursor of a chart to the epoch being read, and write the values there.
  function point(entry) {
    const { drawn, cursor, chart, values } = entry;
    const epoch = epochs[Number(read.value)];
    const parts = new Map();  // of several runs, train and test share a place
    let step = null;
    for (const line of series(chart)) {
      const found = line.run.curves.epoch.findIndex((e) => e >= epoch);
      const i = found < 0 ? line.run.curves.epoch.length - 1 : found;
      step ??= time(line.run)[i];
      const name = data.runs.length > 1 ? line.run.name : line.name;
      if (parts.has(name)) parts.get(name).append(" / ");
      else parts.set(name, html("span", `${name} `));
      parts.get(name).append(html("b", shown(seen(chart, line.values[i]))));
    }
    values.replaceChildren(...parts.values());
    if (!drawn || !parts.size) return;
    const at = drawn.x.place(state.x === "loglog" ? step : Math.max(epoch, state.x === "log" ? 1 : 0));
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
  }

  function drawAll() {
    const several = data.runs.length > 1;
    const keys = several
      ? data.runs.map((run, r) => [run.name, colour(r), false])
      : [["train", colour(0), false]];
    if (section.querySelector("[name=split]"))
      keys.push(several ? ["test, after the stroke in the numbers", "var(--quiet)", true] : ["test", colour(1), true]);
    document.getElementById("legend").replaceChildren(...keys.map(([name, stroke, dashed]) => {
      const line = svg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
      const path = { d: "M1 4H25", style: `stroke:${stroke};stroke-width:2;${dashed ? "stroke-dasharray:5 4" : ""}` };
      line.append(svg("path", path));
      const key = html("span");
      key.append(line, name);
      return key;
    }));
    figures.filter(({ plot }) => plot.clientWidth).forEach(draw);
  }

  function move() {
    document.getElementById("read-epoch").textContent = shown(epochs[Number(read.value)]);
    read.setAttribute("aria-valuetext", `epoch ${epochs[Number(read.value)]}`);
    figures.forEach(point);
  }

  read.max = epochs.length - 1;
  read.value = epochs.length - 1;
  read.addEventListener("input", move);
  for (const name of Object.keys(state)) {
    section.querySelectorAll(`[name=${name}]`).forEach((input) =>
      input.addEventListener("change", () => { state[name] = input.value; drawAll(); }));
  }
  for (const entry of figures) {
    redrawn(entry.plot, () => draw(entry));
    // Pointing at a chart reads all of them there.
    entry.plot.addEventListener("pointermove", (event) => {
      if (!entry.drawn) return;
      const box = entry.drawn.root.getBoundingClientRect();
      const run = series(entry.chart)[0].run;
      const gaps = time(run).map((x) => Math.abs(entry.drawn.x.place(x) - (event.clientX - box.left)));
      const nearest = run.curves.epoch[gaps.indexOf(Math.min(...gaps))];
      read.value = epochs.indexOf(nearest);
      move();
    });
  }
  drawAll();
  move();
}
