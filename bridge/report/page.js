"use strict";
// Sorting tables, filtering the gallery, the slider and the keys. Everything is on the page already; this only moves and hides.
document.documentElement.classList.add("script");

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
      rows.sort(([a], [b]) => compare(a, b, up ? 1 : -1));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// The number that a cell shows, or its text without the note that opens from it.
function key(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = (cell.querySelector(".v")?.firstChild ?? cell).textContent.trim();
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

// Numbers before texts, and empty cells last whichever way it goes.
function compare(a, b, direction) {
  if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
  if (typeof a !== typeof b) return typeof a === "number" ? -direction : direction;
  return direction * (typeof a === "number" ? a - b : a.localeCompare(b));
}

for (const pick of document.querySelectorAll(".pick")) {
  const rows = pick.nextElementSibling.querySelectorAll("tbody tr");
  pick.addEventListener("submit", (event) => event.preventDefault());
  pick.addEventListener("change", () => {
    const mark = pick.elements.mark.value;
    for (const row of rows) row.hidden = mark !== "" && !row.dataset.marks.split(" ").includes(mark);
  });
}

for (const gallery of document.querySelectorAll(".gallery")) {
  const form = gallery.querySelector("form");
  const list = gallery.querySelector(".rows");
  const rows = [...list.children];
  const chosen = (name) => form.elements[name]?.value ?? "";
  const sorts = {
    index: (row) => Number(row.dataset.index),
    confidence: (row) => Number(row.dataset.confidence) || 0,
    fooled: (row) => -fooledBy(row).length,
  };

  function fooledBy(row) {
    return row.dataset.fooled ? row.dataset.fooled.split(" ") : [];
  }

  function fits(row) {
    const fooled = chosen("fooled");
    return (
      (!chosen("class") || row.dataset.class === chosen("class")) &&
      (!chosen("right") || row.dataset.right === chosen("right")) &&
      (!fooled || (fooled === "*any" ? fooledBy(row).length > 0 : fooled === "*none" ? !fooledBy(row).length : fooledBy(row).includes(fooled)))
    );
  }

  function shows(each) {
    const kind = chosen("kind");
    if (!kind || each.dataset.kind === "image") return true;
    if (kind[0] === "=") return each.dataset.name === kind.slice(1);
    return kind === each.dataset.kind;
  }

  function filter() {
    let count = 0;
    for (const row of rows) {
      row.hidden = !fits(row);
      count += !row.hidden;
      for (const each of row.querySelectorAll(".cells .cell, .group")) each.hidden = !shows(each);
    }
    form.querySelector(".count").textContent = `${count} of ${rows.length} images`;
  }

  form.addEventListener("change", (event) => {
    if (event.target.name === "sort") list.append(...[...rows].sort((a, b) => sorts[event.target.value](a) - sorts[event.target.value](b)));
    else if (event.target.name !== "under") filter();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.under.addEventListener("input", (event) => gallery.style.setProperty("--under", event.target.value / 100));
}

// From image to image by the arrow keys; f or / to the filters of that gallery, Escape back to the image.
let last = null;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const form = event.target.closest(".filters");
  if (event.key === "Escape" && form) return focus(last ?? form.parentElement.querySelector(".row:not([hidden])"));
  if (event.target.closest("form, .scroll, input, select, textarea")) return;
  const rows = [...document.querySelectorAll(".row:not([hidden])")];
  const here = rows.indexOf(document.activeElement.closest(".row"));
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step && rows.length) focus(rows[here < 0 ? nearest(rows) : Math.min(rows.length - 1, Math.max(0, here + step))]);
  else if (event.key === "f" || event.key === "/") {
    const gallery = (rows[here] ?? rows[0])?.closest(".gallery") ?? document.querySelector(".gallery");
    const first = gallery?.querySelector(".filters select");
    if (!first) return;
    first.focus();
    first.scrollIntoView({ block: "nearest" });
  } else return;
  event.preventDefault();
});

// The first image that is not above what one sees.
function nearest(rows) {
  const found = rows.findIndex((row) => row.getBoundingClientRect().bottom > innerHeight / 4);
  return found < 0 ? rows.length - 1 : found;
}

function focus(row) {
  if (!row) return;
  last = row;
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "start" });
}

// What is printed is all of it: folded tables open for that.
addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((each) => { each.open = true; each.dataset.printed = ""; }));
addEventListener("afterprint", () => document.querySelectorAll("details[data-printed]").forEach((each) => { each.open = false; delete each.dataset.printed; }));
