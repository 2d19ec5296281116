"use strict";
// Sorts and filters the tables, shows a module's numbers, copies. Without scripts the page shows everything.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.v);
  };
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    const sort = (head, column) => {
      const numbers = rows.some((row) => row.cells[column].dataset.v !== undefined), now = head.getAttribute("aria-sort");
      const down = numbers ? now !== "descending" : now === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => {
        const x = value(a, column), y = value(b, column);
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
      });
      body.append(...rows);
    };
    heads.forEach((head, column) => {
      head.tabIndex = 0;
      head.addEventListener("click", () => sort(head, column));
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head, column); }
      });
    });
  }
  // The box at the top filters every table and dims the modules of the map that do not match.
  const filter = document.getElementById("filter"), left = document.getElementById("left");
  const rows = all("table.sortable tbody tr").map((row) => {
    const status = row.querySelector(".dot");
    return [row, (row.textContent + " " + (status ? status.title : "")).toLowerCase()];
  });
  const boxes = all("svg.map > g").map((box) => [box, box.querySelector("title").textContent.toLowerCase()]);
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0, modules = 0;
    for (const [row, text] of rows) {
      row.hidden = !text.includes(wanted);
      if (row.querySelector(".dot")) { modules += 1; shown += row.hidden ? 0 : 1; }
    }
    boxes.forEach(([box, text]) => box.classList.toggle("dim", !text.includes(wanted)));
    left.textContent = wanted === "" ? "" : `${shown} of ${modules} modules`;
  });
  // A module of the map says its numbers below the heading.
  const picked = document.getElementById("picked");
  for (const [box] of boxes) {
    const say = () => { picked.textContent = box.querySelector("title").textContent.split("\n").join(" · "); };
    for (const event of ["click", "focus", "pointerenter"]) box.addEventListener(event, say);
  }
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages from files have no clipboard in some browsers.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  for (const button of all("button.copy")) {
    const words = button.textContent;
    button.addEventListener("click", async () => {
      const from = button.dataset.from;
      const table = from ? document.getElementById(from) : null;
      const lines = table ? [...table.tBodies[0].rows].filter((row) => !row.hidden)
        .map((row) => `${row.cells[0].textContent.trim()}\t${row.querySelector(".id").textContent}`) : [];
      await copy(table ? lines.join("\n") : button.previousElementSibling.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = words; }, 1500);
    });
  }
})();
