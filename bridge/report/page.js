"use strict";
// Sorting tables, filtering the gallery, and the slider. Everything is on the page already; this only moves and hides.
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

  function shows(cell) {
    const kind = chosen("kind");
    if (!kind || cell.dataset.kind === "image") return true;
    if (kind[0] === "=") return cell.dataset.name === kind.slice(1);
    return kind === "map" ? cell.dataset.kind === "map" : cell.dataset.kind !== "map";
  }

  function filter() {
    let count = 0;
    for (const row of rows) {
      row.hidden = !fits(row);
      count += !row.hidden;
      for (const cell of row.querySelectorAll(".cell")) cell.hidden = !shows(cell);
    }
    form.querySelector(".count").textContent = `${count} of ${rows.length} images`;
  }

  // A map is laid over its image only once the slider is moved, and only in rows that come into view.
  const layered = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) layer(entry.target);
  });

  function layer(row) {
    const opacity = form.elements.opacity.value / 100;
    const image = row.querySelector(".cell.image img").src;
    for (const frame of row.querySelectorAll(".cell.map .frame")) {
      frame.style.backgroundImage = opacity < 1 ? `url("${image}")` : "";
      frame.firstElementChild.style.opacity = opacity;
    }
  }

  form.addEventListener("change", (event) => {
    if (event.target.name === "sort") list.append(...[...rows].sort((a, b) => sorts[event.target.value](a) - sorts[event.target.value](b)));
    else if (event.target.name !== "opacity") filter();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.opacity.addEventListener("input", () => {
    layered.disconnect();
    rows.forEach((row) => layered.observe(row));
  });
}
