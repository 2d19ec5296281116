// Uses the page as a person would and leaves what it found in the document.
(() => {
  const tables = ["absent", "modules"].map((id) => document.getElementById(id)).filter((table) => table !== null);
  const rows = () => tables.flatMap((table) => [...table.tBodies[0].rows]);
  const name = (row) => row.cells[0].textContent.trim(), status = (row) => row.querySelector(".dot").className.replace("dot", "").trim();
  const heading = (table, words) => [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith(words));
  const cell = (row, words) => row.cells[heading(row.closest("table"), words)];
  const size = new Map(rows().map((row) => [cell(row, "Base").textContent, Number(cell(row, "Size").dataset.v)]));
  const found = { alerts: window.alerts, images: document.images.length, width: window.innerWidth };
  found.rows = rows().map((row) => ({ name: name(row), status: status(row) }));
  found.text = document.body.innerText;
  found.overflow = Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth);
  found.height = document.documentElement.scrollHeight;
  found.loaded = performance.getEntriesByType("resource").length;
  found.background = getComputedStyle(document.body).backgroundColor;
  // Of the two drawings the one that fits the window is shown.
  const drawings = [...document.querySelectorAll(".drawing")].filter((drawing) => drawing.getBoundingClientRect().width > 0);
  found.drawings = drawings.map((drawing) => drawing.className.replace("drawing", "").trim());
  const groups = drawings.flatMap((drawing) => [...drawing.querySelectorAll("svg.map > g")]);
  found.map = groups.map((group) => {
    const [title, facts] = group.querySelector("title").textContent.split("\n");
    const boxes = [...group.querySelectorAll("rect:not([class])")];
    const width = boxes.reduce((sum, box) => sum + box.getBoundingClientRect().width, 0);
    return { name: title, status: group.getAttribute("class"), size: size.get(facts.split(",")[0]), width };
  });
  const labels = drawings.flatMap((drawing) => [...drawing.querySelectorAll("svg.map text")]);
  found.label = Math.min(...labels.map((label) => label.getBoundingClientRect().height));
  // A module says its numbers without a pointer resting on it. The event is made here: a window that is not in front
  // gets none of its own.
  if (groups.length > 0) {
    groups[0].dispatchEvent(new FocusEvent("focus"));
    found.reached = groups.every((group) => group.tabIndex === 0);
    found.picked = document.getElementById("picked").textContent;
    found.first = groups[0].querySelector("title").textContent.split("\n")[0];
  }
  found.heat = document.querySelectorAll("svg.strip rect").length;
  // What is missing stands in the order of its cost.
  const absent = document.getElementById("absent");
  const hits = absent ? heading(absent, "Packet addresses") : -1;
  found.costs = hits < 0 ? [] : [...absent.tBodies[0].rows].map((row) => Number(row.cells[hits].dataset.v));
  // A click on Size sorts each table, the largest first; Enter on it turns the order round.
  found.sorted = tables.every((table) => {
    const column = heading(table, "Size"), head = table.tHead.rows[0].cells[column];
    const sizes = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.v));
    head.click();
    const down = sizes();
    head.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
    const up = sizes();
    return down.every((value, at) => at === 0 || down[at - 1] >= value) && up.every((value, at) => at === 0 || up[at - 1] <= value);
  });
  // The filter leaves the rows that have its words, in all tables.
  const filter = document.getElementById("filter"), wanted = name(rows()[0]).slice(0, 6).toLowerCase();
  found.above = filter.getBoundingClientRect().top < 400;
  filter.value = wanted;
  filter.dispatchEvent(new Event("input"));
  found.left = rows().filter((row) => !row.hidden).map(name);
  found.filtered = found.left.length > 0 && rows().every((row) => row.hidden || row.textContent.toLowerCase().includes(wanted));
  const button = document.querySelector("button.copy");
  if (button) button.click();
  const element = document.createElement("script");
  element.id = "found";
  element.type = "application/json";
  element.textContent = JSON.stringify(found).replaceAll("<", "\\u003c");
  document.body.append(element);
})();
