// Every metric over time, all runs in one chart, one cursor and one span of time in all charts.
const chosen = (name, otherwise) => document.querySelector(`[name=${name}]:checked`)?.value ?? otherwise;
const muted = (r) => document.querySelector(`[data-mute="${r}"]`)?.checked === false;

function setUpCurves(data) {
  const section = document.getElementById("curves");
  const read = document.getElementById("read");
  if (!read) return;
  const [from, to] = ["from", "to"].map((id) => document.getElementById(id));
  const whole = document.getElementById("whole");
  const several = data.runs.length > 1;
  const epochs = [...new Set(data.runs.flatMap((run) => run.curves.epoch))].sort((a, b) => a - b);
  const figures = [...section.querySelectorAll("[data-chart]")].map((figure) => ({
    figure,
    plot: figure.querySelector(".plot"),
    values: figure.querySelector(".values"),
    chart: data.charts.find((chart) => chart.name === figure.dataset.chart),
    drawn: null, cursor: null, lines: [], range: null,
  }));
  const state = {};

  function look() {
    Object.assign(state, {
      x: chosen("x"), y: chosen("y"), split: chosen("split", "both"), seeds: chosen("seeds", "each"),
      low: from.value === "" ? -Infinity : Number(from.value), high: to.value === "" ? Infinity : Number(to.value),
    });
    whole.hidden = from.value === "" && to.value === "" && figures.every(({ range }) => range === null);
  }

  const logarithmic = (chart) => state.y === "log" && chart.kind !== "signed";
  // Near 1 a share says nothing on a log axis; what it lacks does.
  const seen = (chart, value) =>
    value === null ? null : logarithmic(chart) && chart.kind === "share" ? Math.max(1 - value, 0) : value;

  // The curves of one chart within the span: run, whether of test data, name, colour, points.
  function series(chart) {
    const lines = data.runs.flatMap((run, r) =>
      ["", "test_"].map((prefix) => {
        const test = prefix !== "", values = run.curves.series[prefix + chart.name];
        if (!values || muted(r) || (state.split !== "both" && (state.split === "test") !== test)) return null;
        const time = state.x === "loglog" ? run.curves.step : run.curves.epoch;
        const kept = run.curves.epoch.map((_, i) => i).filter((i) => {
          const epoch = run.curves.epoch[i];
          return epoch >= state.low && epoch <= state.high;
        });
        return {
          run, test, colour: colour(several ? run.group : test ? 1 : 0),
          name: several ? run.name : test ? "test" : "train",
          epochs: kept.map((i) => run.curves.epoch[i]),
          xs: kept.map((i) => (state.x === "log" ? Math.max(time[i], 1) : time[i])),
          ys: kept.map((i) => seen(chart, values[i])),
        };
      })).filter((line) => line?.xs.length);
    if (state.seeds !== "band") return lines;
    return banded(lines).map((line) => (line.low ? { ...line, name: data.groups[line.run.group] } : line));
  }

  function xScale(lines) {
    const all = lines.flatMap(({ xs }) => xs).filter((x) => x !== null);
    const low = Math.min(...all), high = Math.max(...all);
    return (left, right) => {
      if (state.x === "loglog") return logLogScale(Math.max(low, 3), Math.max(high, 4), left, right);
      if (state.x === "log") return logScale(low, Math.max(high, 2), left, right);
      return linearScale(low, high, left, right);
    };
  }

  function yScale({ chart, range, lines }) {
    const targets = chart.targets.map((target) => seen(chart, target));
    const all = range ?? [...lines.flatMap(({ ys, low = [], high = [] }) => [...ys, ...low, ...high]), ...targets].filter((v) => v !== null);
    if (logarithmic(chart)) {
      const above = all.filter((v) => v > 0), floor = all.some((v) => v <= 0);
      const low = above.length ? Math.min(...above) : 0.1, high = above.length ? Math.max(...above) : 1;
      return (bottom, top) => logScale(low / 1.2, high * 1.2, bottom, top, 3, floor);
    }
    const high = all.length ? Math.max(...all) : 1;
    let low = all.length ? Math.min(...all) : 0;
    if (chart.kind === "distance" && !range) low = Math.min(low, 0);
    const room = 0.04 * (high - low);
    return (bottom, top) => linearScale(low - (chart.kind === "distance" && !range ? 0 : room), high + room, bottom, top, 3);
  }

  function draw(entry) {
    const { chart, plot, figure } = entry;
    const lines = entry.lines = series(chart);
    figure.querySelectorAll(".rest").forEach((words) => { words.hidden = !(logarithmic(chart) && chart.kind === "share"); });
    if (!lines.length) {
      const why = data.runs.every((_, r) => muted(r)) ? "no run is ticked" : `not measured on ${state.split} data`;
      plot.replaceChildren(html("p", why, "empty"));
      entry.values.replaceChildren();
      entry.drawn = null;
      return;
    }
    const drawn = new Chart(plot, {
      xScale: xScale(lines), yScale: yScale(entry), label: chart.title,
      xLabel: { linear: "epoch", log: "epoch, log", loglog: "step, log log" }[state.x],
      yLabel: logarithmic(chart) ? `${chart.unit}, log` : chart.unit,
    });
    const [only] = data.runs, { epoch, step, fitted } = only.curves;
    if (!several && fitted !== null && fitted >= state.low && fitted <= state.high) {
      const i = Math.max(epoch.findIndex((e) => e >= fitted), 0);
      drawn.upright(state.x === "loglog" ? step[i] : Math.max(epoch[i], 1), "mark");
    }
    const { top, bottom } = drawn.area;
    for (const target of chart.targets.map((value) => seen(chart, value))) {
      const aim = drawn.y.place(target);
      if (aim >= top - 1 && aim <= bottom + 1) drawn.level(target, "aim", "target");
    }
    for (const line of lines) if (line.low) drawn.band(line.xs, line.low, line.high, line.colour);
    for (const line of lines) drawn.curve(line.xs, line.ys, line.colour, line.test, chart.dots);
    entry.drawn = drawn;
    entry.cursor = drawn.upright(lines[0].xs[0], "cursor");
    point(entry);
  }

  // Where a line stands at the epoch that is read, or at the next one that it has.
  function place(line, epoch) {
    const found = line.epochs.findIndex((e) => e >= epoch);
    return found < 0 ? line.xs.length - 1 : Math.min(found, line.xs.length - 1);
  }

  // Move the cursor of a chart to the epoch being read, and write the values there.
  function point(entry) {
    const { drawn, cursor, values, lines } = entry;
    if (!drawn) return;
    const epoch = epochs[Number(read.value)], parts = new Map();  // of several runs, train and test share a place
    for (const line of lines) {
      const i = place(line, epoch);
      if (parts.has(line.name)) parts.get(line.name).append(" / ");
      else parts.set(line.name, html("span", `${line.name} `));
      parts.get(line.name).append(html("b", shown(line.ys[i])));
      if (line.low) parts.get(line.name).append(` (${shown(line.low[i])} to ${shown(line.high[i])})`);
    }
    values.replaceChildren(...parts.values());
    const at = drawn.x.place(lines[0].xs[place(lines[0], epoch)]);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
  }

  function key([name, stroke, dashed]) {
    const line = svg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }), label = html("span");
    const path = { d: "M1 4H25", style: `stroke:${stroke};stroke-width:2;${dashed ? "stroke-dasharray:5 4" : ""}` };
    line.append(svg("path", path));
    label.append(line, name);
    return label;
  }

  function drawAll() {
    look();
    const keys = several
      ? data.groups.map((name, g) => [name, colour(g), false])
      : [["train", colour(0), false]];
    if (section.querySelector("[name=split]"))
      keys.push(several ? ["test (after the slash in the numbers)", "var(--quiet)", true] : ["test", colour(1), true]);
    document.getElementById("legend").replaceChildren(...keys.map(key));
    figures.filter(({ plot }) => plot.clientWidth).forEach(draw);
  }

  function move() {
    document.getElementById("read-epoch").textContent = shown(epochs[Number(read.value)]);
    read.setAttribute("aria-valuetext", `epoch ${epochs[Number(read.value)]}`);
    figures.forEach(point);
  }

  // The points inside a box that was drawn on a chart: their epochs are shown in every chart.
  function zoom(entry, box) {
    const inside = entry.lines.flatMap((line) => line.xs.map((x, i) => [line.epochs[i], entry.drawn.x.place(x), line.ys[i]]))
      .filter(([, x]) => x >= box.left && x <= box.right);
    if (!inside.length) return;
    const times = inside.map(([epoch]) => epoch);
    const levels = inside.map(([, , y]) => y).filter((y) => y !== null && entry.drawn.y.place(y) >= box.top && entry.drawn.y.place(y) <= box.bottom);
    entry.range = box.bottom - box.top > 30 && levels.length > 1 ? [Math.min(...levels), Math.max(...levels)] : null;
    [from.value, to.value] = [Math.min(...times), Math.max(...times)];
    from.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function watchPointer(entry) {
    const { plot } = entry;
    let start = null, frame = null;
    const at = (event) => {
      const box = entry.drawn.root.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const area = ([x, y]) => ({
      left: Math.min(x, start[0]), right: Math.max(x, start[0]), top: Math.min(y, start[1]), bottom: Math.max(y, start[1]),
    });
    plot.addEventListener("pointerdown", (event) => {
      if (!entry.drawn || event.pointerType !== "mouse" || event.button) return;
      start = at(event);
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointermove", (event) => {
      if (!entry.drawn) return;
      const [x, y] = at(event);
      if (start && Math.abs(x - start[0]) > 6) {
        if (!frame) entry.drawn.root.append(frame = svg("rect", { class: "box" }));
        const { left, right, top, bottom } = area([x, y]);
        for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) frame.setAttribute(name, value);
        return;
      }
      // Pointing at a chart reads all of them there.
      const [line] = entry.lines, gaps = line.xs.map((place) => Math.abs(entry.drawn.x.place(place) - x));
      read.value = epochs.indexOf(line.epochs[gaps.indexOf(Math.min(...gaps))]);
      move();
    });
    plot.addEventListener("pointerup", (event) => {
      if (frame) zoom(entry, area(at(event)));
      frame?.remove();
      start = frame = null;
    });
    plot.addEventListener("dblclick", () => whole.click());
  }

  read.max = epochs.length - 1;
  read.value = epochs.length - 1;
  read.addEventListener("input", move);
  whole.addEventListener("click", () => {
    from.value = to.value = "";
    figures.forEach((entry) => { entry.range = null; });
    from.dispatchEvent(new Event("change", { bubbles: true }));
  });
  document.querySelectorAll("[data-mute], #from, #to, #curves input[type=radio]").forEach((input) =>
    input.addEventListener("change", drawAll));
  look();
  for (const entry of figures) {
    redrawn(entry.plot, () => draw(entry));
    watchPointer(entry);
    savable(entry.figure.querySelector("figcaption"), () => ({
      name: entry.chart.name,
      root: entry.drawn?.root,
      rows: [["run", "data", "epoch", entry.chart.name], ...data.runs.flatMap((run) => ["", "test_"].flatMap((prefix) =>
        (run.curves.series[prefix + entry.chart.name] ?? []).map((value, i) => [run.name, prefix ? "test" : "train", run.curves.epoch[i], value])))],
    }));
  }
  drawAll();
  move();
}
