// Draws the interactive figures, and lets the reader choose policies, a prompt, and how near to look.
(function () {
  const read = (id) => { const at = document.getElementById(id); return at ? JSON.parse(at.textContent) : null; };
  const figures = read("figures"), requests = read("timeline");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map(); // element -> view
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const config = () => ({
    background: "transparent", font: "system-ui, sans-serif", title: { fontWeight: "bold" }, view: { stroke: null },
    axis: { labelColor: colour("--ink"), titleColor: colour("--ink"), gridColor: colour("--line"),
            domainColor: colour("--line"), tickColor: colour("--line"), labelFontSize: 12, titleFontSize: 12,
            titleFontWeight: "normal", labelLimit: 150 },
    legend: { labelColor: colour("--ink"), labelFontSize: 12, symbolType: "square" },
    rule: { color: colour("--ink") }, text: { color: colour("--ink"), fontSize: 12 },
  });

  async function draw(at, spec, values, range) {
    const params = spec.params.map((one) => (one.name in values ? { ...one, value: values[one.name] } : one));
    const { row_px, rows } = spec.usermeta, wanted = values.shown ? rows.filter((row) => values.shown.includes(row)) : rows;
    const height = row_px * Math.max(wanted.length, 1);
    const text = JSON.stringify({ ...spec, height, params, description: at.dataset.about }, (key, value) =>
      range && value && value.name === "zoom" ? { ...value, value: { x: range } } : value);
    const options = { renderer: "svg", actions: false, config: config(), tooltip: { theme: dark.matches ? "dark" : "light" } };
    if (views.has(at)) views.get(at).finalize();
    const { view } = await vegaEmbed(at, JSON.parse(text), options);
    views.set(at, view);
  }

  const boxes = [...document.querySelectorAll("#policies input")];
  const shown = () => boxes.filter((box) => box.checked).map((box) => box.value);

  function drawFigures() {
    for (const at of document.querySelectorAll(".vega[data-figure]"))
      draw(at, figures[at.dataset.figure], boxes.length ? { shown: shown() } : {});
  }

  function choosePolicies() {
    const labels = shown();
    for (const cell of document.querySelectorAll("[data-policy]")) cell.hidden = !labels.includes(cell.dataset.policy);
    drawFigures();
  }

  const slots = [...document.querySelectorAll("#requests .slot")].map((slot) => ({ choice: slot.querySelector("select"), at: slot.querySelector(".vega") }));

  function drawRequests(range) {
    const prompt = document.getElementById("prompt").value;
    for (const { choice, at } of slots) {
      at.dataset.about = "Passes and messages of prompt " + prompt + " under " + choice.value;
      draw(at, requests[choice.value], { prompt }, range);
    }
  }

  // The middle stays where it is; a factor of 0 shows the whole request.
  function zoom(factor) {
    if (factor === 0) { drawRequests([0, Math.max(...slots.map(({ choice }) => lastMs(requests[choice.value])))]); return; }
    const [from, to] = views.get(slots[0].at).scale("x").domain(), middle = (from + to) / 2, half = (to - from) / 2 * factor;
    drawRequests([Math.max(0, middle - half), middle + half]);
  }

  function lastMs(spec) {
    const prompt = document.getElementById("prompt").value;
    return spec.layer.flatMap((layer) => layer.data.values).reduce((most, row) => row.prompt === prompt ? Math.max(most, row.to ?? 0) : most, 0);
  }

  document.documentElement.classList.add("scripted");
  for (const box of boxes) box.addEventListener("change", choosePolicies);
  for (const choice of document.querySelectorAll("#requests select")) choice.addEventListener("change", () => drawRequests());
  for (const button of document.querySelectorAll("#requests button")) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  const all = () => { drawFigures(); if (requests) drawRequests(); };
  dark.addEventListener("change", all);
  window.addEventListener("beforeprint", () => { for (const folded of document.querySelectorAll("details.print")) folded.open = true; });
  all();
})();
