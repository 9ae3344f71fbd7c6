// A matrix of classes by classes on a canvas, with the names of what is under the pointer.
class Matrix {
  constructor(canvas, readout, names, describe) {
    Object.assign(this, { canvas, readout, names, describe, at: null, marked: null });
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    for (const event of ["pointerleave", "blur"]) canvas.addEventListener(event, () => { this.at = null; this.draw(); });
    canvas.addEventListener("keydown", (event) => this.#step(event));
    savable(canvas.closest("figure").querySelector("figcaption"), () => ({
      name: canvas.getAttribute("aria-label").split(";")[0], canvas,
      rows: [["row", "column", "value"], ...this.classes.flatMap((a, i) => this.classes.map((b, j) => [this.names[a], this.names[b], this.value(i, j)]))],
    }));
  }

  // classes: indices of rows and columns; value(i, j); paint(value) -> colour; edge(value) -> bool.
  show(classes, value, paint, edge = () => false) {
    Object.assign(this, { classes, value, paint, edge });
    this.canvas.closest("[data-matrix]").classList.toggle("wide", classes.length > 24);
    this.draw();
  }

  #margin(size) {
    const longest = Math.max(...this.classes.map((k) => this.names[k].length));
    const fits = size / this.classes.length > 7.5 && size > 260;
    return fits ? Math.min(10 + 6.2 * longest, size * 0.22) : 0;
  }

  draw() {
    if (!this.classes || !this.canvas.clientWidth) return;
    const [context, size] = sharp(this.canvas);
    const count = this.classes.length, margin = this.#margin(size), cell = (size - margin) / count;
    const gap = cell > 9 ? 1 : 0;
    this.layout = { margin, cell };
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        const value = this.value(i, j), x = margin + j * cell, y = i * cell;
        context.fillStyle = this.paint(value, i, j);
        context.fillRect(x, y, cell - gap + (gap ? 0 : 0.4), cell - gap + (gap ? 0 : 0.4));
        if (i !== j && this.edge(value)) this.#frame(context, i, j, css(themed("--bad")), 1.5);
      }
    }
    if (margin) this.#labels(context, size, margin, cell);
    for (const place of [this.marked, this.at]) {
      if (place) this.#frame(context, place[0], place[1], css(themed("--ink")), 2);
    }
    this.readout.textContent = this.#text(this.at ?? this.marked) || (this.idle ?? "");
  }

  #labels(context, size, margin, cell) {
    context.fillStyle = css(themed("--quiet"));
    context.font = `${Math.min(11, cell * 0.8)}px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    this.classes.forEach((k, i) => {
      const name = this.#cut(context, this.names[k], margin - 10);
      context.textAlign = "right";
      context.fillText(name, margin - 8, (i + 0.5) * cell);
      context.save();
      context.translate(margin + (i + 0.5) * cell, size - margin + 8);
      if (context.measureText(name).width > cell) context.rotate(-Math.PI / 2);
      else context.textAlign = "center";
      context.fillText(name, 0, context.textAlign === "center" ? 4 : 0);
      context.restore();
    });
  }

  #cut(context, name, width) {
    let most = name.length;
    while (most > 3 && context.measureText(brief(name, most)).width > width) most--;
    return brief(name, most);
  }

  #frame(context, i, j, colour, width) {
    const { margin, cell } = this.layout;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(margin + j * cell, i * cell, cell - 1, cell - 1);
  }

  #text(place) {
    if (!place) return "";
    const [i, j] = place;
    return this.describe(this.names[this.classes[i]], this.names[this.classes[j]], this.value(i, j), i === j);
  }

  #step(event) {
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!by) return;
    event.preventDefault();
    const last = this.classes.length - 1, from = this.at ?? this.marked ?? [0, 1];
    this.at = this.at ? from.map((k, axis) => Math.max(0, Math.min(last, k + by[axis]))) : from;
    this.draw();
  }

  #point(event) {
    if (!this.layout) return;
    const box = this.canvas.getBoundingClientRect(), { margin, cell } = this.layout;
    const j = Math.floor((event.clientX - box.left - margin) / cell);
    const i = Math.floor((event.clientY - box.top) / cell);
    const inside = Math.min(i, j) >= 0 && Math.max(i, j) < this.classes.length;
    this.at = inside ? [i, j] : null;
    this.draw();
  }
}

// From cold by the colour of zero to warm, for values in [-1, 1].
function diverging() {
  const [cold, zero, warm] = ["--cold", "--zero", "--warm"].map(themed);
  return (value) => {
    const share = Math.max(-1, Math.min(1, value));
    return css(share < 0 ? mix(zero, cold, -share) : mix(zero, warm, share));
  };
}
