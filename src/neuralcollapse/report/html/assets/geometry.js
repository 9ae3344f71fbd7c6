// One slider for the Gram matrix and the class means in space.
function setUpGeometry(data) {
  const slider = document.getElementById("epoch");
  if (!slider) return null;
  const element = (id) => document.getElementById(id);
  const play = element("play");
  const gram = new Matrix(element("gram"), element("gram-readout"), data.classes, (a, b, value, same) =>
    same ? `${a} with itself` : `${a} and ${b}: ${shown(value)}`);
  const space = new Space(element("space"), data.classes);
  const state = { run: 0, view: 0, show: "cosine", pair: null };
  let geometry = null, timer = null;

  const frames = new Map();  // decoded when first looked at
  function frame(kind, text, Type) {
    if (!frames.has(text)) frames.set(text, unpack(text, Type));
    return frames.get(text);
  }

  function choose(run) {
    state.run = run;
    geometry = data.runs[run].geometry;
    element("geometry-empty").hidden = geometry !== null;
    document.querySelectorAll("#geometry .pair, #geometry-values, #play, #geometry .slider").forEach((part) => {
      part.hidden = geometry === null;
    });
    if (!geometry) return;
    state.show = document.querySelector("[name=gram]:checked").value;
    state.view = Math.min(state.view, geometry.views.length - 1);
    slider.max = geometry.epochs.length - 1;
    slider.value = geometry.epochs.length - 1;
    views();
    draw();
  }

  function views() {
    const box = element("views");
    if (geometry.views.length < 2) { box.replaceChildren(); return; }
    const set = html("fieldset", "", "choice");
    set.append(html("legend", "show"));
    geometry.views.forEach((view, v) => {
      const label = html("label"), input = html("input");
      Object.assign(input, { type: "radio", name: "view", value: v, checked: v === state.view });
      input.addEventListener("change", () => { state.view = v; draw(); });
      label.append(input, html("span", view.name));
      set.append(label);
    });
    box.replaceChildren(set);
  }

  function draw() {
    if (!geometry) return;
    const index = Number(slider.value), epoch = geometry.epochs[index];
    element("epoch-value").textContent = shown(epoch);
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    values(geometry.values[index]);
    drawGram(index);
    drawSpace(index);
  }

  function values(at) {
    const names = { nc1_trace_ratio: "within-class over between-class scatter", nc2_etf: "distance of the means from an ETF", nc3_self_duality: "head against means" };
    element("geometry-values").replaceChildren(...Object.entries(names).filter(([name]) => at[name] !== null).map(([name, title]) => {
      const part = html("span", `${title} `);
      part.append(html("b", shown(at[name])));
      return part;
    }));
  }

  function drawGram(index) {
    const { classes, target, frames: packed, of } = geometry.gram, count = classes.length;
    const cosines = frame("gram", packed[index], Int16Array);
    const cosine = (i, j) => {
      if (i === j) return 1;
      const [a, b] = i < j ? [i, j] : [j, i];
      return cosines[a * count - (a * (a + 1)) / 2 + b - a - 1] / 32767;
    };
    const deviation = state.show === "deviation";
    let reach = 1;
    if (deviation) {
      // One range for all epochs, that of the last: the early ones may saturate.
      const last = frame("gram", packed[packed.length - 1], Int16Array);
      reach = Math.max(...Array.from(last, (c) => Math.abs(c / 32767 - target)), 1e-4);
    }
    const value = deviation ? (i, j) => (i === j ? 0 : cosine(i, j) - target) : cosine;
    const paint = diverging();
    element("gram-target").textContent = shown(target);
    element("ramp-low").textContent = shown(-reach);
    element("ramp-high").textContent = `+${shown(reach)}`;
    const pair = state.pair && state.pair.map((k) => classes.indexOf(k));
    gram.marked = pair && Math.min(...pair) >= 0 ? pair : null;
    gram.idle = `${count < of ? `the ${count} of ${of} classes that are hardest to tell apart; ` : ""}point at a pair to read it, or use the arrow keys`;
    gram.show(classes, value, (v) => paint(v / reach));
  }

  function drawSpace(index) {
    const view = geometry.views[state.view];
    const points = frame("space", view.points[index], Float32Array);
    const targets = view.targets && frame("space", view.targets, Float32Array);
    const last = frame("space", view.points[view.points.length - 1], Float32Array);
    let reach = 0;
    for (const array of [last, targets ?? last]) {
      for (let k = 0; k < array.length; k += 3) reach = Math.max(reach, Math.hypot(...array.slice(k, k + 3)));
    }
    const spread = frame("space", view.spread[index], Float32Array);
    space.show({ classes: view.classes, points, targets, spread, reach: reach || 1 });
    element("space-note").textContent = `${view.note}. Drag or use the arrow keys to turn it.`;
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
    play.setAttribute("aria-pressed", "false");
  }

  play.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
    play.textContent = "pause";
    play.setAttribute("aria-pressed", "true");
    draw();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      draw();
      if (Number(slider.value) >= Number(slider.max)) stop();
    }, 180);
  });
  // Whoever asked for less motion gets none that moves by itself.
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) play.remove();
  slider.addEventListener("input", () => { stop(); draw(); });
  document.querySelectorAll("[name=gram]").forEach((input) =>
    input.addEventListener("change", () => { state.show = input.value; draw(); }));
  document.querySelectorAll("[data-pair]").forEach((link) =>
    link.addEventListener("click", () => {
      state.pair = link.dataset.pair.split(" ").map(Number);
      draw();
    }));
  redrawn(element("gram"), () => gram.draw());
  redrawn(element("space"), () => space.draw());
  const start = data.runs.findIndex((run) => run.geometry);
  choose(start);

  // On paper, which cannot choose, the pictures of the other runs follow as images.
  function copies() {
    const shown = state.run, index = slider.value, pair = document.querySelector("#geometry .pair");
    const made = data.runs.flatMap((run, r) => {
      if (r === shown || !run.geometry) return [];
      choose(r);
      const copy = html("div", "", "pair copy");
      for (const id of ["gram", "space"]) {
        const figure = html("figure"), image = html("img");
        Object.assign(image, { src: element(id).toDataURL(), alt: element(id).getAttribute("aria-label"), className: "square" });
        figure.append(html("figcaption", `${run.name}: ${id === "gram" ? "Gram matrix" : "class means"}`), image);
        copy.append(figure);
      }
      pair.after(copy);
      return [copy];
    });
    choose(shown);
    slider.value = index;
    draw();
    return made;
  }
  return { choose, draw, copies };
}
