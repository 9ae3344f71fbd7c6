// Layers by epochs: a metric as a heat map, and as one curve per layer.
const ROW = 24;

function setUpLayers(data) {
  document.querySelectorAll("#layers [data-run]").forEach((block) => {
    const layers = data.runs[block.dataset.run].layers;
    const [map, curves, select] = [".heat", ".layer-curves", "select"].map((name) => block.querySelector(name));
    if (!layers || !map) return;
    const metric = () => layers.metrics[select.selectedIndex];
    const shades = () => layers.layers.map((_, i) => mix(themed("--c0"), themed("--half"), layers.layers.length > 1 ? i / (layers.layers.length - 1) : 0)).map((rgb) => css(rgb));
    const positive = () => metric().values.flat().filter((v) => v !== null && v > 0);
    const readout = block.querySelector(".readout");
    let root = null, chart = null, boxes = [], at = null;

    function drawMap() {
      const { values, title } = metric(), width = map.clientWidth, count = layers.epoch.length;
      const left = Math.min(Math.max(...layers.layers.map((name) => 6.4 * name.length)) + 12, 0.4 * width);
      const letters = Math.floor((left - 12) / 6.4), cell = (width - left - 4) / count, height = ROW * layers.layers.length;
      const low = Math.min(...positive()), high = Math.max(...positive()), span = Math.log(high / low) || 1;
      const [pale, full] = ["--zero", "--cold"].map(themed);
      root = svg("svg", { viewBox: `0 0 ${width} ${height + 36}`, height: height + 36, tabindex: 0, role: "img", "aria-label": `${title}, layers by epochs; arrow keys go from cell to cell` });
      boxes = values.map((row) => row.map(() => null));
      layers.layers.forEach((name, i) => {
        const text = name.length > letters ? `…${name.slice(1 - letters)}` : name;
        root.append(svg("text", { x: left - 8, y: ROW * (i + 0.5) + 4, "text-anchor": "end" }, text));
        values[i].forEach((value, e) => {
          if (value === null) return;
          const share = value > 0 ? Math.log(value / low) / span : 0;
          const box = svg("rect", { x: left + e * cell, y: ROW * i, width: cell + 0.3, height: ROW - 1, style: `fill:${css(mix(pale, full, share))}` });
          box.addEventListener("pointerenter", () => { if (boxes[at?.[0]]?.[at?.[1]] !== box) read([i, e]); });
          boxes[i][e] = box;
          root.append(box);
        });
      });
      const every = Math.ceil(46 / cell);
      layers.epoch.forEach((epoch, e) => {
        if (e % every === 0) root.append(svg("text", { x: left + (e + 0.5) * cell, y: height + 14, "text-anchor": "middle" }, shown(epoch)));
      });
      root.append(svg("text", { x: (left + width) / 2, y: height + 31, "text-anchor": "middle" }, "epoch, as measured"));
      root.addEventListener("pointerleave", () => read(null));
      root.addEventListener("blur", () => read(null));
      root.addEventListener("keydown", step);
      const focused = map.contains(document.activeElement);
      map.replaceChildren(root);
      if (focused) root.focus();
      read(at);
      const ends = block.querySelectorAll(".ramp span");
      [low, high].forEach((end, i) => { ends[i].textContent = shown(end); });
    }

    function read(place) {
      if (at) boxes[at[0]][at[1]]?.classList.remove("read");
      at = place;
      if (!at) { readout.textContent = ""; return; }
      const [i, e] = at, box = boxes[i][e], value = metric().values[i][e];
      readout.textContent = `${layers.layers[i]}, epoch ${layers.epoch[e]}: ${value === null ? "not measured" : shown(value)}`;
      if (!box) return;
      box.classList.add("read");
      root.append(box); // above its neighbours, so that its frame is whole
    }

    function step(event) {
      const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!by) return;
      event.preventDefault();
      const last = [layers.layers.length - 1, layers.epoch.length - 1];
      read(at ? at.map((k, axis) => Math.max(0, Math.min(last[axis], k + by[axis]))) : [0, 0]);
    }

    function drawCurves() {
      const { values, title } = metric(), colours = shades(), all = positive();
      chart = new Chart(curves, {
        xScale: (from, to) => linearScale(layers.epoch[0], layers.epoch.at(-1), from, to),
        yScale: (from, to) => logScale(Math.min(...all) / 1.2, Math.max(...all) * 1.2, from, to, 3, values.flat().includes(0)),
        height: 240, label: `${title}, one curve per layer`, xLabel: "epoch", yLabel: `${title}, log`,
      });
      values.forEach((row, i) => chart.curve(layers.epoch, row, colours[i]));
      keys(curves, layers.layers, colours);
    }

    function draw() { drawMap(); drawCurves(); }
    select.addEventListener("change", draw);
    redrawn(map, draw);
    drawers.push(() => { if (map.clientWidth) draw(); });
    const rows = () => [["layer", "epoch", metric().title], ...layers.layers.flatMap((name, i) => layers.epoch.map((epoch, e) => [name, epoch, metric().values[i][e]]))];
    [[".heat", () => root], [".layer-curves", () => chart.root]].forEach(([name, drawn]) =>
      savable(block.querySelector(name).closest("figure").querySelector("figcaption"), () => ({ name: `layers-${metric().title}`, root: drawn(), rows: rows() })));
  });
}
