// What a word means, beside it, as long as it is pointed at or has the focus; Escape closes it.
function setUpTerms() {
  const tip = document.createElement("div");
  Object.assign(tip, { id: "meaning", className: "meaning", hidden: true });
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  let timer = 0;
  const close = () => { timer = setTimeout(() => { tip.hidden = true; }, 120); };

  function open(term) {
    clearTimeout(timer);
    tip.innerHTML = document.querySelector(`${term.getAttribute("href")} dd`).innerHTML;
    tip.hidden = false;
    const box = term.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    tip.style.top = `${box.bottom + height + 12 < innerHeight ? box.bottom + 4 : box.top - height - 4}px`;
  }
  document.querySelectorAll("a.term").forEach((term) => {
    term.setAttribute("aria-describedby", "meaning");
    for (const event of ["pointerenter", "focus"]) term.addEventListener(event, () => open(term));
    for (const event of ["pointerleave", "blur"]) term.addEventListener(event, close);
  });
  tip.addEventListener("pointerenter", () => clearTimeout(timer));
  tip.addEventListener("pointerleave", close);
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
}
