// Ties the sections together: theme, choice of run, print.
const data = JSON.parse(document.getElementById("data").textContent);
setUpCurves(data);
setUpSweep(data);
setUpLayers(data);
const geometry = setUpGeometry(data);
const drawTheory = setUpTheory(data);

document.querySelectorAll("[data-colour]").forEach((swatch) => {
  swatch.style.background = colour(Number(swatch.dataset.colour));
});

function chooseRun(run) {
  document.querySelectorAll(".run-choice input").forEach((input) => {
    input.checked = Number(input.value) === run;
  });
  document.querySelectorAll("[data-run]").forEach((block) => {
    block.hidden = Number(block.dataset.run) !== run;
  });
  geometry?.choose(run);
}
document.querySelectorAll(".run-choice input").forEach((input) =>
  input.addEventListener("change", () => chooseRun(Number(input.value))));
if (data.runs.length > 1) chooseRun(0);

// Pictures on a canvas know no style sheet: they are drawn again in the new colours.
function recolour() {
  geometry?.draw();
  drawTheory();
}
const system = matchMedia("(prefers-color-scheme: dark)");
const theme = document.getElementById("theme");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

function wear(name) {
  if (name) document.documentElement.dataset.theme = name;
  theme.textContent = isDark() ? "light" : "dark";
  theme.setAttribute("aria-label", `switch to ${theme.textContent} colours`);
  theme.setAttribute("aria-pressed", String(isDark()));
}
theme.addEventListener("click", () => {
  const name = isDark() ? "light" : "dark";
  wear(name);
  recolour();
  try { localStorage.setItem("neuralcollapse-theme", name); } catch { /* a file may have no storage */ }
});
system.addEventListener("change", () => { wear(null); recolour(); });
let kept = null;
try { kept = localStorage.getItem("neuralcollapse-theme"); } catch { /* the same */ }
wear(kept === "dark" || kept === "light" ? kept : null);
if (kept) recolour();

const keepChoices = setUpAddress();
setUpTerms();

// Of a run that goes on, unless something is open or held down.
let held = false;
for (const [event, value] of [["pointerdown", true], ["pointerup", false]]) addEventListener(event, () => { held = value; });
if (data.reload) setInterval(() => {
  if (held || document.querySelector(":popover-open")) return;
  keepChoices();
  location.reload();
}, 1000 * data.reload);

// On paper everything is open and light, and every run is there.
let screen = null, hidden = [], copies = [];
addEventListener("beforeprint", () => {
  screen = document.documentElement.dataset.theme ?? null;
  document.documentElement.dataset.theme = "light";
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  copies = geometry?.copies() ?? [];
  hidden = [...document.querySelectorAll("[data-run][hidden]")];
  hidden.forEach((block) => { block.hidden = false; });
  drawers.forEach((draw) => draw());
  recolour();
});
addEventListener("afterprint", () => {
  if (screen) document.documentElement.dataset.theme = screen;
  else delete document.documentElement.dataset.theme;
  copies.forEach((copy) => copy.remove());
  hidden.forEach((block) => { block.hidden = true; });
  drawers.forEach((draw) => draw());
  recolour();
});
