// One chart: axes with a few ticks, curves, bars, points, and upright or level lines.
const HEIGHT = 186, LEFT = 42, RIGHT = 10, TOP = 22, BOTTOM = 36;

class Chart {
  // Draws into a .plot element; `xScale(from, to)` and `yScale(from, to)` make the axes.
  constructor(plot, { xScale, yScale, height = HEIGHT, label = "", xLabel = "", yLabel = "" }) {
    const width = Math.max(plot.clientWidth, 160);
    this.root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
    this.area = { left: LEFT, right: width - RIGHT, top: TOP, bottom: height - BOTTOM };
    this.x = xScale(this.area.left, this.area.right);
    this.y = yScale(this.area.bottom, this.area.top);
    this.#axes();
    this.root.append(svg("text", { x: (LEFT + this.area.right) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
    this.root.append(svg("text", { x: 0, y: 10 }, yLabel));
    plot.replaceChildren(this.root);
  }

  #axes() {
    const { left, right, bottom } = this.area;
    for (const [value, text] of this.y.ticks) {
      const y = this.y.place(value);
      this.root.append(svg("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
      this.root.append(svg("text", { x: left - 7, y: y + 3.5, "text-anchor": "end" }, text));
    }
    let free = -Infinity;
    for (const [value, text] of this.x.ticks) {
      const x = this.x.place(value), half = 3.2 * text.length;
      if (x - half < free || x + half > right + RIGHT + 4) continue;
      free = x + half + 8;
      this.root.append(svg("text", { x, y: bottom + 16, "text-anchor": "middle" }, text));
    }
  }

  curve(xs, ys, colour, dashed = false, dots = false) {
    let path = "", open = false;
    xs.forEach((x, i) => {
      if (ys[i] === null || x === null) { open = false; return; }
      path += `${open && !dots ? "L" : "M"}${this.x.place(x).toFixed(1)} ${this.y.place(ys[i]).toFixed(1)}`;
      if (dots || xs.length === 1) path += "h0";
      open = true;
    });
    const kind = dots || xs.length === 1 ? " dots" : dashed ? " dashed" : "";
    this.root.append(svg("path", { class: `curve${kind}`, d: path, style: `stroke:${colour}` }));
  }

  band(xs, lows, highs, colour) {
    const edge = (ys) => xs.map((x, i) => `${this.x.place(x).toFixed(1)} ${this.y.place(ys[i]).toFixed(1)}`);
    const path = `M${[...edge(lows), ...edge(highs).reverse()].join("L")}Z`;
    this.root.append(svg("path", { class: "band", d: path, style: `fill:${colour}` }));
  }

  dot(x, y, colour, radius = 2.5) {
    const circle = svg("circle", { cx: this.x.place(x), cy: this.y.place(y), r: radius, style: `fill:${colour}` });
    this.root.append(circle);
    return circle;
  }

  dash(x, y, half, colour) {
    const [at, level] = [this.x.place(x), this.y.place(y)];
    this.root.append(
      svg("line", { x1: at - half, x2: at + half, y1: level, y2: level, style: `stroke:${colour};stroke-width:1.5` }));
  }

  bar(from, to, height, colour) {
    const [a, b, y] = [this.x.place(from), this.x.place(to), this.y.place(height)];
    const size = { x: a, width: Math.max(b - a - 0.5, 0.5), y, height: Math.max(this.area.bottom - y, 0) };
    this.root.append(svg("rect", { ...size, style: `fill:${colour};opacity:.55` }));
  }

  upright(x, className) {
    const at = this.x.place(x), { top, bottom } = this.area;
    const line = svg("line", { class: className, x1: at, x2: at, y1: top, y2: bottom });
    this.root.append(line);
    return line;
  }

  level(y, className, text = "") {
    const at = this.y.place(y), { left, right } = this.area;
    this.root.append(svg("line", { class: className, x1: left, x2: right, y1: at, y2: at }));
    const beside = at > this.area.top + 14 ? at - 4 : at + 12;  // above the line, if there is room
    if (text) this.root.append(svg("text", { x: right, y: beside, "text-anchor": "end" }, text));
  }
}

const drawers = [];  // of every plot: paper shows also those that the screen hides

// Draws again whenever the width of a plot changes, and so also when it first has one.
function redrawn(plot, draw) {
  let width = 0;
  drawers.push(() => { if (plot.clientWidth) draw(); });
  const observer = new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== width) {
      width = plot.clientWidth;
      draw();
    }
  });
  observer.observe(plot);
}
