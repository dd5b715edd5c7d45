"use strict";
// Linked lines: elements with data-s share numbers; `w` are those around others.
(() => {
  const all = (selector, within) => [...(within || document).querySelectorAll(selector)];
  const linked = new Map();
  for (const element of all("[data-s]"))
    for (const number of element.dataset.s.split(" ")) {
      if (!linked.has(number)) linked.set(number, []);
      linked.get(number).push(element);
    }
  let lit = [], held = null, timer = 0;

  function clear() {
    for (const element of lit) element.classList.remove("on", "near", "here");
    lit = [];
  }

  function light(source) {
    clear();
    const found = new Set();
    for (const number of source.dataset.s.split(" ")) for (const element of linked.get(number)) found.add(element);
    for (const element of found) element.classList.add(element.classList.contains("w") && element !== source ? "near" : "on");
    source.classList.add("here");
    lit = [...found];
  }

  // Other panes scroll to the first line that is lit there; the page itself stays.
  function show(source) {
    const own = source.closest(".code, .scroll");
    for (const box of all(".code:not([hidden]), .scroll")) {
      if (box === own || box.closest(".panes") !== source.closest(".panes")) continue;
      const first = all(".on", box)[0] || all(".near", box)[0];
      if (!first) continue;
      const place = first.getBoundingClientRect(), around = box.getBoundingClientRect();
      if (place.top < around.top || place.bottom > around.bottom) box.scrollTop += place.top - around.top - box.clientHeight / 3;
    }
  }

  const target = event => event.target instanceof Element ? event.target.closest("[data-s]") : null;
  document.addEventListener("mouseover", event => {
    const source = target(event);
    if (held || !source) return;
    light(source);
    clearTimeout(timer);
    timer = setTimeout(() => { if (!held && source.classList.contains("here")) show(source); }, 120);
  });
  document.addEventListener("mouseout", event => {
    if (!held && target(event)) clear();
  });
  document.addEventListener("click", event => {
    const source = target(event);
    if (!source) {
      if (held && !event.target.closest("button, a, summary")) release();
      return;
    }
    if (held === source) return release();
    release();
    held = source;
    light(source);
    source.classList.add("held");
    show(source);
  });
  function release() {
    if (held) held.classList.remove("held");
    held = null;
    clear();
  }
  document.addEventListener("keydown", event => { if (event.key === "Escape") release(); });

  // A block of a domain: all of its rows at once.
  for (const plane of all(".plane")) {
    const mark = event => {
      const block = event.target.dataset ? event.target.dataset.b : undefined;
      for (const cell of all(".cell", plane)) cell.classList.toggle("lit", block !== undefined && cell.dataset.b === block && event.type === "mouseover");
    };
    plane.addEventListener("mouseover", mark);
    plane.addEventListener("mouseout", mark);
  }

  // Tabs of a pane.
  for (const pane of all(".pane")) {
    const tabs = all("button.tab", pane), texts = all(".code", pane);
    tabs.forEach((tab, n) => tab.addEventListener("click", () => {
      tabs.forEach((other, m) => other.setAttribute("aria-pressed", m === n));
      texts.forEach((text, m) => { text.hidden = m !== n; });
      if (held) show(held);
    }));
  }

  // Light or dark: as the system has it, until somebody chooses.
  const theme = document.getElementById("theme"), root = document.documentElement;
  if (theme) theme.addEventListener("click", () => {
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
})();
