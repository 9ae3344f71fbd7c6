// Predicted beside measured, and the margins of pairs: one drawing for each run that has them.
function setUpTheory(data) {
  const drawings = [];
  document.querySelectorAll("#theory [data-run]").forEach((block) => {
    const numbers = data.runs[block.dataset.run].theory;
    const draw = { angles: drawAngles, norms: drawNorms, next: drawNext, trust: drawTrust };
    block.querySelectorAll("[data-theory]").forEach((plot) => {
      redrawn(plot, () => draw[plot.dataset.theory](plot, numbers[plot.dataset.theory]));
      savable(plot.closest("figure").querySelector("figcaption"), () => ({ name: plot.dataset.theory, root: plot.querySelector("svg") }));
    });
  });
  document.querySelectorAll("#margins [data-run]").forEach((block) => {
    const canvas = block.querySelector(".margin-map"), picture = data.runs[block.dataset.run].margins;
    if (!canvas) return;
    const matrix = new Matrix(canvas, block.querySelector(".readout"), data.classes, (a, b, value, same) =>
      same ? "" : `samples of ${a} win against ${b} by ${shown(value)} logits at least`);
    const draw = () => drawMargins(matrix, picture);
    redrawn(canvas, draw);
    drawings.push(draw);
  });
  return () => drawings.forEach((draw) => draw());
}

// Class means and head, in colours that are not those of training and test data.
const VECTORS = [2, 3].map(colour);

// Names of what is drawn, in its colour, in a line under the picture.
function keys(plot, names, colours = VECTORS) {
  const line = html("p", "", "legend");
  names.forEach((name, i) => {
    const swatch = html("i", "", "swatch"), key = html("span");
    swatch.style.background = colours[i];
    swatch.style.marginRight = "0";
    key.append(swatch, name);
    line.append(key);
  });
  plot.append(line);
}

function drawAngles(plot, { edges, shares, predicted }) {
  const high = Math.max(...Object.values(shares).flat(), 0.01);
  const chart = new Chart(plot, {
    xScale: (from, to) => linearScale(edges[0], edges.at(-1), from, to, 5),
    yScale: (from, to) => linearScale(0, high * 1.08, from, to, 3),
    label: "Histogram of the cosines of pairs, measured and predicted", xLabel: "cosine of a pair", yLabel: "share of pairs",
  });
  Object.values(shares).forEach((values, i) =>
    values.forEach((share, b) => { if (share) chart.bar(edges[b], edges[b + 1], share, VECTORS[i]); }));
  for (const value of predicted) chart.upright(value, "aim");
  keys(plot, Object.keys(shares));
}

function drawNorms(plot, { names, sizes, vectors }) {
  const all = Object.values(vectors).flatMap(({ predicted, measured }) => [...predicted, ...measured]);
  const low = Math.min(...all, 0.9), high = Math.max(...all, 1.1), count = names.length;
  const ticks = names.map((name, k) => [k, brief(name, 10)]);
  const chart = new Chart(plot, {
    xScale: (from, to) => ({ ...linearScale(-0.6, count - 0.4, from, to), ticks }),
    yScale: (from, to) => linearScale(low - 0.02, high + 0.02, from, to, 4),
    label: "Lengths of class means and head rows, measured and predicted", xLabel: "class", yLabel: "length over the mean length",
  });
  const half = Math.max(2, Math.min(12, 120 / count));
  Object.values(vectors).forEach(({ predicted, measured }, i) => {
    predicted.forEach((value, k) => chart.dash(k, value, half, VECTORS[i]));
    measured.forEach((value, k) => chart.dot(k, value, VECTORS[i], count > 30 ? 1.8 : 3));
  });
  keys(plot, Object.keys(vectors));
}

function drawNext(plot, { betas, predicted, before, after }) {
  const all = [...predicted, before, after].filter((value) => value > 0);
  const chart = new Chart(plot, {
    xScale: (from, to) => logScale(betas[0], betas.at(-1), from, to),
    yScale: (from, to) => logScale(Math.min(...all) / 1.3, Math.max(...all) * 1.6, from, to, 3),
    label: "Predicted scatter of the next layer over the pull towards the layer before", xLabel: "pull β, log", yLabel: "tr Σ_W / tr Σ_B, log",
  });
  chart.level(before, "mark", "layer before");
  chart.level(after, "aim", "next layer");
  chart.curve(betas, predicted, colour(0));
}

function drawTrust(plot, bins) {
  const low = Math.min(...bins.flatMap(({ confidence, lower }) => [confidence, lower]));
  const chart = new Chart(plot, {
    xScale: (from, to) => linearScale(low, 1, from, to), yScale: (from, to) => linearScale(low, 1, from, to),
    height: 240, label: "Accuracy over confidence, in bins", xLabel: "confidence", yLabel: "accuracy",
  });
  chart.curve([low, 1], [low, 1], "var(--good)");
  for (const { confidence, accuracy, lower, upper } of bins) {
    chart.curve([confidence, confidence], [lower, upper], colour(1));
    chart.dot(confidence, accuracy, colour(1), 3.5);
  }
}

function drawMargins(matrix, { classes, values }) {
  const packed = unpack(values, Float32Array), count = classes.length;
  const margin = (i, j) => packed[i * count + j];
  const finite = Array.from(packed).filter(Number.isFinite);
  const high = Math.max(...finite, 1e-9), low = Math.max(0, Math.min(...finite));
  const ends = matrix.canvas.parentElement.querySelectorAll(".ramp span");
  [low, high].forEach((end, i) => { ends[i].textContent = shown(end); });
  const [light, dark] = ["--zero", "--cold"].map(themed), none = css(themed("--line"), 0.4);
  matrix.show(classes, margin, (value, i, j) =>
    i === j ? none : css(mix(light, dark, Math.max(0, value - low) / (high - low || 1))), (value) => value <= 0);
}
