"use strict";

// A column is sorted by its cells' keys: numbers as numbers, and what has none comes last.
function key(row, column) {
  const { sort, number } = row.cells[column].dataset;
  return sort === undefined ? null : number === undefined ? sort : Number(sort);
}

function sortBy(header, column) {
  const body = header.closest("table").tBodies[0];
  const direction = header.ariaSort === "ascending" ? "descending" : "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a, column), key(b, column)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1);
  });
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) =>
    header.querySelector("button").addEventListener("click", () => sortBy(header, column)),
  );
}

const views = [];

// Figures are drawn on canvas: what is text or axis in them takes the colours of the page.
function recolor() {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet] = ["--ink", "--quiet"].map((name) => style.getPropertyValue(name).trim());
  for (const view of views) {
    for (const panel of [...view.model.left, ...view.model.below]) {
      panel.setv(
        panel.type === "ColorBar"
          ? { title_text_color: ink, major_label_text_color: ink }
          : {
              axis_label_text_color: ink, major_label_text_color: ink,
              axis_line_color: quiet, major_tick_line_color: quiet,
            },
      );
    }
    view.repaint(); // At once: what is printed is printed when this returns.
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
for (const [event, isPrinted] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(event, () => {
    document.documentElement.classList.toggle("printed", isPrinted);
    recolor();
  });
}

const figures = JSON.parse(document.getElementById("figures").textContent);
Promise.all(figures.map((figure) => Bokeh.embed.embed_item(figure))).then((embedded) => {
  const isFigure = ({ model }) => model.type === "Figure"; // each has a list of notices beside it
  for (const roots of embedded) views.push(...[...roots].filter(isFigure));
  recolor();
});
