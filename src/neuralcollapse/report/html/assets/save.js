// Every picture can be taken away: its numbers as CSV, the drawing as SVG, the pixels as PNG.
const PAINTED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-family", "font-size"];

function download(name, blob) {
  const link = html("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The drawing with its colours written out, which the style sheet gives on the page.
function standalone(root) {
  const copy = root.cloneNode(true), { width, height } = root.getBoundingClientRect();
  const copies = copy.querySelectorAll("*");
  root.querySelectorAll("*").forEach((element, i) => {
    const style = getComputedStyle(element);
    copies[i].setAttribute("style", PAINTED.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("width", width);
  copy.prepend(svg("rect", { width: "100%", height: "100%", fill: css(themed("--paper")) }));
  return { text: new XMLSerializer().serializeToString(copy), width, height };
}

async function pixels(root) {
  const { text, width, height } = standalone(root), image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = html("canvas");
  Object.assign(canvas, { width: 2 * width, height: 2 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

const quoted = (cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell ?? "");

// A button beside a caption; `subject()` gives the name, rows of numbers, and a drawing or a canvas.
function savable(caption, subject) {
  const button = html("button", "save", "save");
  button.type = "button";
  button.setAttribute("aria-label", `save: ${caption.textContent.slice(0, 80)}`);
  caption.append(button);
  button.addEventListener("click", () => {
    const { name, rows, root, canvas } = subject(), menu = html("div", "", "menu");
    menu.popover = "auto";
    const offer = (kind, make) => {
      const choice = html("button", kind.toUpperCase());
      choice.type = "button";
      choice.addEventListener("click", async () => {
        menu.remove();
        button.focus();
        download(`${name}.${kind}`, await make());
      });
      menu.append(choice);
    };
    if (rows) offer("csv", () => new Blob([rows.map((row) => row.map(quoted).join(",")).join("\n")], { type: "text/csv" }));
    if (root) offer("svg", () => new Blob([standalone(root).text], { type: "image/svg+xml" }));
    if (root || canvas)
      offer("png", async () => {
        const drawn = canvas ?? (await pixels(root));
        return new Promise((done) => drawn.toBlob(done));
      });
    button.after(menu);
    menu.addEventListener("toggle", (event) => { if (event.newState === "closed") menu.remove(); });
    menu.showPopover();
    const box = button.getBoundingClientRect();
    menu.style.left = `${Math.min(box.left, innerWidth - menu.offsetWidth - 8)}px`;
    menu.style.top = `${box.bottom + 4}px`;
    menu.firstChild.focus();
  });
}
