// Uses the page as a person would and leaves what it found in the document.
(() => {
  const table = document.getElementById("modules"), rows = () => [...table.tBodies[0].rows];
  const name = (row) => row.cells[0].textContent.trim(), status = (row) => row.querySelector(".dot").className.replace("dot", "").trim();
  const size = new Map(rows().map((row) => [row.cells[1].textContent, Number(row.cells[2].dataset.v)]));
  const found = { alerts: window.alerts, images: document.images.length };
  found.rows = rows().map((row) => ({ name: name(row), status: status(row) }));
  found.text = document.body.innerText;
  found.overflow = Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth);
  found.loaded = performance.getEntriesByType("resource").length;
  found.background = getComputedStyle(document.body).backgroundColor;
  found.map = [...document.querySelectorAll("svg.map > g")].map((group) => {
    const [title, facts] = group.querySelector("title").textContent.split("\n");
    const boxes = [...group.querySelectorAll("rect:not([class])")];
    const width = boxes.reduce((sum, box) => sum + box.getBoundingClientRect().width, 0);
    return { name: title, status: group.getAttribute("class"), size: size.get(facts.split(",")[0]), width };
  });
  found.heat = document.querySelectorAll("svg.strip rect").length;
  // A click on Size sorts, the largest first.
  table.tHead.rows[0].cells[2].click();
  found.sizes = rows().map((row) => Number(row.cells[2].dataset.v));
  found.sorted = found.sizes.every((value, at) => at === 0 || found.sizes[at - 1] >= value);
  // The filter leaves the rows that have its words.
  const filter = document.getElementById("filter"), wanted = name(rows()[0]).slice(0, 6).toLowerCase();
  filter.value = wanted;
  filter.dispatchEvent(new Event("input"));
  found.left = rows().filter((row) => !row.hidden).map(name);
  found.filtered = found.left.length > 0 && rows().every((row) => row.hidden || row.textContent.toLowerCase().includes(wanted));
  const element = document.createElement("script");
  element.id = "found";
  element.type = "application/json";
  element.textContent = JSON.stringify(found).replaceAll("<", "\\u003c");
  document.body.append(element);
})();
