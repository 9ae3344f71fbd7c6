// What is chosen on the page stands in its address, so that a link or a reload shows the same;
// returns what writes it there at once.
function setUpAddress() {
  const controls = [...document.querySelectorAll("main input, main select")].filter(({ name, id }) => name || id);
  const [place, query] = location.hash.slice(1).split("?"), kept = new URLSearchParams(query);
  let section = place, waiting = null;

  // The value of a control, null where it is the one that the page opens with.
  function changed(control) {
    if (control.type === "radio") return control.checked && !control.defaultChecked ? control.value : null;
    if (control.type === "checkbox") return control.checked ? null : "off";
    if (control.type === "range") return control.value === control.max ? null : control.value;
    if (control.tagName === "SELECT") return control.selectedIndex ? control.value : null;
    return control.value || null;
  }

  function write() {
    const state = new URLSearchParams();
    for (const control of controls) {
      const value = changed(control);
      if (value !== null) state.set(control.name || control.id, value);
    }
    const text = state.size ? `${section}?${state}` : section;
    if (text || location.hash) history.replaceState(null, "", `#${text}`);
  }

  for (const control of controls) {
    const value = kept.get(control.name || control.id);
    if (value === null || (control.type === "radio" && control.value !== value)) continue;
    if (control.type === "radio") control.checked = true;
    else if (control.type === "checkbox") control.checked = false;
    else control.value = value;
    control.dispatchEvent(new Event(control.type === "range" ? "input" : "change"));
  }
  if (query) document.getElementById(place)?.scrollIntoView();
  const later = () => { clearTimeout(waiting); waiting = setTimeout(write, 200); };
  for (const event of ["change", "input"]) document.getElementById("main").addEventListener(event, later);
  addEventListener("hashchange", () => { [section] = location.hash.slice(1).split("?"); write(); });
  return write;
}
