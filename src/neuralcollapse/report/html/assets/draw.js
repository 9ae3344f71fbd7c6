// What every picture uses: elements, colours of the theme, numbers as text, packed arrays.
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

function html(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// Six colours that all readers can tell apart; of more, hues as far from each other as can be.
function colour(index) {
  const hue = Math.round((index * 137.5) % 360);
  return index < 6 ? `var(--c${index})` : `light-dark(hsl(${hue} 60% 36%), hsl(${hue} 60% 68%))`;
}

// A colour of the theme as [r, g, b]. A variable itself is not resolved, but a property is.
function themed(variable) {
  const probe = html("i");
  probe.style.cssText = `color: var(${variable}); forced-color-adjust: none`;
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return parts.slice(0, 3);
}

const mix = (a, b, share) => a.map((value, i) => Math.round(value + (b[i] - value) * share));
const css = (rgb, alpha = 1) => `rgba(${rgb.join(",")},${alpha})`;

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const raised = (exponent) => [...String(exponent)].map((digit) => RAISED[digit]).join("");

function shown(value) {
  if (value === null || !Number.isFinite(value)) return "undefined";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) {
    const [mantissa, exponent] = value.toExponential(1).split("e");
    return `${Number(mantissa)}·10${raised(Number(exponent))}`;
  }
  const rounded = Number(value.toPrecision(3));
  const text = size >= 1000 ? rounded.toLocaleString("en") : String(rounded);
  return text.replace("-", "−");
}

// A long name without its middle: names that begin alike often end differently.
function brief(name, most) {
  return name.length <= most ? name : `${name.slice(0, most >> 1)}…${name.slice((most >> 1) + 1 - most)}`;
}

function unpack(text, Type) {
  const binary = atob(text);
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return new Type(bytes.buffer);
}

// A square canvas, cleared, sharp on any screen; returns its context and side in CSS pixels.
function sharp(canvas) {
  const size = Math.max(1, Math.round(canvas.clientWidth));
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(size * ratio)) {
    canvas.width = canvas.height = Math.round(size * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, size, size);
  return [context, size];
}
