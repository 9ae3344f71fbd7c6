// One chart: axes with a few ticks, curves, bars, points, and upright or level lines.
const HEIGHT = 160, LEFT = 42, RIGHT = 10, TOP = 8, BOTTOM = 22;

class Chart {
  // Draws into a .plot element; `xScale(from, to)` and `yScale(from, to)` make the axes.
  constructor(plot, { xScale, yScale, height = HEIGHT, label = "" }) {
    const width = Math.max(plot.clientWidth, 160);
    this.root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
    this.area = { left: LEFT, right: width - RIGHT, top: TOP, bottom: height - BOTTOM };
    this.x = xScale(this.area.left, this.area.right);
    this.y = yScale(this.area.bottom, this.area.top);
    this.#axes();
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

  curve(xs, ys, colour, dashed = false) {
    let path = "", open = false;
    xs.forEach((x, i) => {
      if (ys[i] === null || x === null) { open = false; return; }
      path += `${open ? "L" : "M"}${this.x.place(x).toFixed(1)} ${this.y.place(ys[i]).toFixed(1)}`;
      open = true;
    });
    const style = `stroke:${colour}`;
    this.root.append(svg("path", { class: `curve${dashed ? " dashed" : ""}`, d: path, style }));
    if (xs.length === 1 && ys[0] !== null) this.dot(xs[0], ys[0], colour, 3);
  }

  dot(x, y, colour, radius = 2.5) {
    this.root.append(
      svg("circle", { cx: this.x.place(x), cy: this.y.place(y), r: radius, style: `fill:${colour}` }));
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

// Draws again whenever the width of a plot changes, and so also when it first has one.
function redrawn(plot, draw) {
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== width) {
      width = plot.clientWidth;
      draw();
    }
  });
  observer.observe(plot);
}
