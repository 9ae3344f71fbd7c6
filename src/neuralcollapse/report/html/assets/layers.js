// Layers by epochs: a metric as a heat map, and as one curve a layer.
const ROW = 24;

function setUpLayers(data) {
  document.querySelectorAll("#layers [data-run]").forEach((block) => {
    const layers = data.runs[block.dataset.run].layers;
    const [map, curves, select] = [".heat", ".layer-curves", "select"].map((name) => block.querySelector(name));
    if (!layers || !map) return;
    const metric = () => layers.metrics[select.selectedIndex];
    const shades = () => layers.layers.map((_, i) => mix(themed("--c0"), themed("--half"), layers.layers.length > 1 ? i / (layers.layers.length - 1) : 0)).map((rgb) => css(rgb));
    const positive = () => metric().values.flat().filter((v) => v !== null && v > 0);
    let root = null, chart = null;

    function drawMap() {
      const { values, title } = metric(), width = map.clientWidth, count = layers.epoch.length;
      const left = Math.min(Math.max(...layers.layers.map((name) => 6.4 * name.length)) + 12, 0.4 * width);
      const letters = Math.floor((left - 12) / 6.4), cell = (width - left - 4) / count, height = ROW * layers.layers.length;
      const low = Math.min(...positive()), high = Math.max(...positive()), span = Math.log(high / low) || 1;
      const [pale, full] = ["--zero", "--cold"].map(themed);
      root = svg("svg", { viewBox: `0 0 ${width} ${height + 36}`, height: height + 36, role: "img", "aria-label": `${title}, layers by epochs; the numbers are in the table below` });
      layers.layers.forEach((name, i) => {
        const text = name.length > letters ? `…${name.slice(1 - letters)}` : name;
        root.append(svg("text", { x: left - 8, y: ROW * (i + 0.5) + 4, "text-anchor": "end" }, text));
        values[i].forEach((value, e) => {
          if (value === null) return;
          const share = value > 0 ? Math.log(value / low) / span : 0;
          const box = svg("rect", { x: left + e * cell, y: ROW * i, width: cell + 0.3, height: ROW - 1, style: `fill:${css(mix(pale, full, share))}` });
          box.append(svg("title", {}, `${name}, epoch ${layers.epoch[e]}: ${shown(value)}`));
          root.append(box);
        });
      });
      const every = Math.ceil(46 / cell);
      layers.epoch.forEach((epoch, e) => {
        if (e % every === 0) root.append(svg("text", { x: left + (e + 0.5) * cell, y: height + 14, "text-anchor": "middle" }, shown(epoch)));
      });
      root.append(svg("text", { x: (left + width) / 2, y: height + 31, "text-anchor": "middle" }, "epoch, as measured"));
      map.replaceChildren(root);
      const ends = block.querySelectorAll(".ramp span");
      [low, high].forEach((end, i) => { ends[i].textContent = shown(end); });
    }

    function drawCurves() {
      const { values, title } = metric(), colours = shades(), all = positive();
      chart = new Chart(curves, {
        xScale: (from, to) => linearScale(layers.epoch[0], layers.epoch.at(-1), from, to),
        yScale: (from, to) => logScale(Math.min(...all) / 1.2, Math.max(...all) * 1.2, from, to, 3, values.flat().includes(0)),
        height: 240, label: `${title}, one curve a layer`, xLabel: "epoch", yLabel: `${title}, log`,
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
