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
  const panes = all(".pane").map(pane => [all("button.tab", pane), all(".code", pane)]).filter(([tabs]) => tabs.length);

  function clear() {
    for (const element of lit) element.classList.remove("on", "near", "here");
    for (const tab of all("button.tab.lit")) tab.classList.remove("lit");
    lit = [];
  }

  function light(source) {
    clear();
    const found = new Set();
    for (const number of source.dataset.s.split(" ")) for (const element of linked.get(number)) found.add(element);
    for (const element of found) element.classList.add(element.classList.contains("w") && element !== source ? "near" : "on");
    source.classList.add("here");
    lit = [...found];
    for (const [tabs, texts] of panes) tabs.forEach((tab, n) => tab.classList.toggle("lit", texts[n].querySelector(".on, .near") !== null));
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
    hold(source);
  });
  function hold(source) {
    const before = held;
    release();
    if (before === source) return;
    held = source;
    light(source);
    source.classList.add("held");
    show(source);
  }
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
  for (const [tabs, texts] of panes)
    tabs.forEach((tab, n) => tab.addEventListener("click", () => {
      tabs.forEach((other, m) => other.setAttribute("aria-pressed", m === n));
      texts.forEach((text, m) => { text.hidden = m !== n; });
      if (held) show(held);
    }));

  // Without a mouse: arrows go from line to line of a text that has the focus, Enter holds.
  document.addEventListener("keydown", event => {
    const box = document.activeElement && document.activeElement.closest(".code");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!box || (!step && event.key !== "Enter")) return;
    const lines = all(".l[data-s]", box), at = lines.findIndex(line => line.classList.contains("here"));
    if (!lines.length || (event.key === "Enter" && at < 0)) return;
    event.preventDefault();
    if (event.key === "Enter") return hold(lines[at]);
    release();
    const line = lines[Math.min(lines.length - 1, Math.max(0, at < 0 ? (step > 0 ? 0 : lines.length - 1) : at + step))];
    line.scrollIntoView({ block: "nearest", inline: "nearest" });
    light(line);
    show(line);
  });

  // Light or dark: as the system has it, until somebody chooses.
  const theme = document.getElementById("theme"), root = document.documentElement;
  if (theme) theme.addEventListener("click", () => {
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
})();
