"""How the pages look and what their script does: tables sort, one sound plays at a time."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2127; --soft: #58626e; --paper: #fff; --card: #f3f5f7; --line: #d3d9df; --go: #0b5cad;
  --c0: #2f62c9; --c1: #d0460c; --c2: #2b8a3e; --c3: #8d33a8; --c4: #0b7285; --c5: #c2255c;
  --c6: #8a6500; --c7: #59636d; --near: #2f9e6e;
}
@media (prefers-color-scheme: dark) { :root {
  --ink: #e7ebef; --soft: #a3adb8; --paper: #14181c; --card: #1f252b; --line: #3b444d;
  --go: #7ab8ff;
  --c0: #7ea6ff; --c1: #ff9a62; --c2: #69db7c; --c3: #dc97f0; --c4: #4cc9db; --c5: #ff8fb5;
  --c6: #f2cb4a; --c7: #b3bcc5; --near: #2b8a64;
} }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { max-width: 46rem; margin: .5rem 0; } p.soft, figcaption, .soft { color: var(--soft); }
a { color: var(--go); } nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; }
nav li { list-style: none; }
:focus-visible { outline: 3px solid var(--go); outline-offset: 2px; }
img { max-width: 100%; height: auto; border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: middle; }
tbody th { font-weight: 600; min-width: 6rem; overflow-wrap: break-word; }
thead th { vertical-align: bottom; padding: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0;
  padding: .3rem .5rem; width: 100%; text-align: inherit; cursor: pointer; border-radius: 4px;
  white-space: nowrap; }
summary + h3 { display: none; } /* it says the same */
th button::after { content: " \\2195"; opacity: .45; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
td.tinted { background: color-mix(in srgb, var(--near) var(--share), transparent); }
audio { width: 100%; min-width: 9rem; max-width: 22rem; height: 2.5rem; display: block; }
"""

SCRIPT = """
"use strict";
const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
function compare(a, b) {
  if (a === "" || b === "") return null;
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const column = head.cellIndex;
    // What was not measured stays last, whichever way the rest is sorted.
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)], found = compare(x, y);
      return found === null ? (x === "") - (y === "") : sign * found;
    });
    body.append(...rows);
  });
}
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio"))
    if (other !== event.target) other.pause();
}, true);
for (const box of document.querySelectorAll("input[data-shows]")) {
  box.addEventListener("change", () => {
    for (const part of box.closest("[data-shown]").querySelectorAll(`.${box.dataset.shows}`))
      part.toggleAttribute("hidden", !box.checked);
  });
}
"""
