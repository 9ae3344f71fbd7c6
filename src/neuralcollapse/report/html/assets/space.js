// Points in space: class means, their balls and targets, turned by pointer or arrow keys.
class Space {
  constructor(canvas, names) {
    Object.assign(this, { canvas, names, turn: 0.6, tilt: 0.35, scene: null });
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      this.rotate((event.clientX - last[0]) / 120, (event.clientY - last[1]) / 120);
      last = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.rotate(...step);
    });
  }

  rotate(turn, tilt) {
    this.turn += turn;
    this.tilt = Math.max(-1.5, Math.min(1.5, this.tilt + tilt));
    this.draw();
  }

  show(scene) {
    this.scene = scene;
    this.draw();
  }

  // To the screen: turned about the upright axis, tilted, a little perspective.
  #project([x, y, z], size) {
    const a = x * Math.cos(this.turn) + y * Math.sin(this.turn);
    const b = -x * Math.sin(this.turn) + y * Math.cos(this.turn);
    const depth = b * Math.cos(this.tilt) - z * Math.sin(this.tilt);
    const up = z * Math.cos(this.tilt) + b * Math.sin(this.tilt);
    const scale = (0.43 * size) / this.reach / (1 + 0.14 * (depth / this.reach));
    return { x: size / 2 + a * scale, y: size / 2 - up * scale, depth, scale };
  }

  draw() {
    if (!this.scene || !this.canvas.clientWidth) return;
    const [context, size] = sharp(this.canvas);
    const { classes, points, targets, spread, reach } = this.scene;
    this.reach = reach;
    const row = (array, k) => [array[3 * k], array[3 * k + 1], array[3 * k + 2]];
    const at = classes.map((_, k) => this.#project(row(points, k), size));
    const aim = targets && classes.map((_, k) => this.#project(row(targets, k), size));
    const [blue, green, quiet, ink, paper] = ["--c0", "--good", "--quiet", "--ink", "--paper"].map(themed);
    const count = classes.length;
    const centre = this.#project([0, 0, 0], size);

    const line = (a, b, stroke, width, dash = []) => {
      context.beginPath();
      context.setLineDash(dash);
      context.moveTo(a.x, a.y);
      context.lineTo(b.x, b.y);
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.stroke();
      context.setLineDash([]);
    };
    const disc = (p, radius, fill, stroke) => {
      context.beginPath();
      context.arc(p.x, p.y, Math.max(radius, 0.5), 0, 2 * Math.PI);
      if (fill) { context.fillStyle = fill; context.fill(); }
      if (stroke) { context.strokeStyle = stroke; context.lineWidth = 1.3; context.stroke(); }
    };

    const ball = centre.scale * (targets ? Math.hypot(...row(targets, 0)) : 0);
    if (count > 6 && ball) disc(centre, ball, null, css(quiet, 0.25));
    if (count <= 6) {
      for (let i = 0; i < count; i++) {
        for (let j = 0; j < i; j++) {
          if (aim) line(aim[i], aim[j], css(green, 0.75), 1, [3, 4]);
          line(at[i], at[j], css(blue, 0.75), 1.2);
        }
      }
    }
    const order = classes.map((_, k) => k).sort((a, b) => at[b].depth - at[a].depth);
    for (const k of order) {
      const near = 0.5 - at[k].depth / this.reach / 2.6, alpha = 0.35 + 0.65 * Math.max(0, Math.min(1, near));
      if (count > 6) line(centre, at[k], css(quiet, 0.28 * alpha), 1);
      if (aim) {
        line(at[k], aim[k], css(green, 0.9), 1);
        disc(aim[k], count > 30 ? 3 : 6.5, null, css(green, alpha));
      }
      disc(at[k], spread[k] * at[k].scale, css(blue, count > 30 ? 0.05 : 0.1), null);
      disc(at[k], count > 30 ? 2.4 : 4.8, css(blue, alpha), null);
    }
    if (count > 40) return;
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    for (const k of order) {
      const right = at[k].x >= centre.x;
      context.textAlign = right ? "left" : "right";
      const text = brief(this.names[classes[k]], 14);
      const width = context.measureText(text).width + 2;
      const x = right ? Math.min(at[k].x + 9, size - width) : Math.max(at[k].x - 9, width);
      context.lineWidth = 3;
      context.strokeStyle = css(paper, 0.8);
      context.strokeText(text, x, at[k].y);
      context.fillStyle = css(ink);
      context.fillText(text, x, at[k].y);
    }
  }
}
