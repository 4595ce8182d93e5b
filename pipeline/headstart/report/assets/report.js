// Draws the figures and opens the images behind a cell. Texts from outside become text nodes only.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("document").textContent);
  const { images, classes } = data;
  const splits = ["training", "validation", "test", "not used"];
  const byId = (id) => document.getElementById(id);
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text ?? "" });
  // Plotly interprets some HTML in labels.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const nameOf = (code) => (code < 0 ? "no label" : classes[code]);

  const sheet = new Image();
  if (images.sheet) sheet.src = images.sheet;

  function thumbnail(number) {
    if (images.large && images.large[number]) {
      return Object.assign(new Image(), { src: images.large[number], alt: "" });
    }
    if (!images.sheet) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width: 128, height: 128 });
    const side = images.side;
    const paint = () => canvas.getContext("2d").drawImage(
      sheet, side * (number % images.columns), side * Math.floor(number / images.columns),
      side, side, 0, 0, 128, 128);
    sheet.decode().then(paint, () => {});
    return canvas;
  }

  function describe(number) {
    const words = make("div");
    const path = make("bdi", images.path[number]);
    path.className = "path";
    words.append(path, make("small", `${nameOf(images.label[number])}, ${splits[images.split[number]]}`));
    if (images.prediction[number] >= 0) {
      words.append(make("small", `predicted ${nameOf(images.prediction[number])}, probability ${images.probability[number]}`));
    }
    return words;
  }

  function show(target, number) {
    target.replaceChildren(...[thumbnail(number), describe(number)].filter(Boolean));
  }

  function openGallery(cell) {
    const label = Number(cell.dataset.true), prediction = Number(cell.dataset.predicted);
    const matches = images.path.map((_, i) => i).filter((i) =>
      splits[images.split[i]] === "test" && images.label[i] === label && images.prediction[i] === prediction);
    matches.sort((a, b) => images.probability[b] - images.probability[a]);
    byId("gallery-title").textContent = `${nameOf(label)} predicted as ${nameOf(prediction)}`;
    const total = Number(cell.textContent.replaceAll(",", ""));
    byId("gallery-note").textContent = matches.length < total
      ? `${matches.length} of ${total} images; the others are not in the sample on this page.`
      : total === 1 ? "1 image." : `${total} images, the most confident first.`;
    byId("gallery-list").replaceChildren(...matches.map((number) => {
      const item = make("li");
      item.dataset.image = number;
      show(item, number);
      return item;
    }));
    byId("gallery").showModal();
    byId("gallery-title").focus();
  }

  for (const cell of document.querySelectorAll("button[data-true]")) {
    cell.addEventListener("click", () => openGallery(cell));
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const printing = matchMedia("print");

  function readTheme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--rule"), zeroline: false, linecolor: colour("--rule"), automargin: true };
    return {
      ink: colour("--ink"), muted: colour("--muted"), accent: colour("--accent"),
      hit: `rgb(${colour("--hit").split(" ").join(",")})`, miss: `rgb(${colour("--miss").split(" ").join(",")})`,
      layout: (more) => ({
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
        margin: { l: 48, r: 12, t: 12, b: 44 }, xaxis: { ...axis, ...more.x }, yaxis: { ...axis, ...more.y },
        showlegend: more.legend ?? false, legend: { orientation: "h", y: 1.02, yanchor: "bottom", itemsizing: "constant" },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") },
        hoverlabel: { bgcolor: colour("--raised"), font: { color: colour("--ink") } }, ...more.rest,
      }),
    };
  }

  const settings = { displaylogo: false, responsive: true, displayModeBar: false };

  // In print the figures are scaled, which requires their size on the screen.
  function keepShape(box) {
    for (const svg of box.querySelectorAll(".main-svg")) {
      svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    }
    const { width, height } = box._fullLayout;
    box.style.setProperty("--shape", `${width} / ${height}`);
  }

  function draw(id, traces, layout, more) {
    const box = byId(id);
    if (!box || !traces.length) return;
    const first = !box.dataset.drawn;
    Plotly.react(box, traces, layout, { ...settings, ...more });
    keepShape(box);
    if (first) box.on("plotly_afterplot", () => keepShape(box));
    box.dataset.drawn = "yes";
  }

  function drawReliability(theme) {
    const bins = data.reliability;
    const used = bins.images.map((n, i) => i).filter((i) => bins.images[i] && bins.confidence[i] !== null);
    const most = Math.max(1, ...bins.images);
    draw("reliability", [
      { x: [0, 1], y: [0, 1], mode: "lines", hoverinfo: "skip", line: { color: theme.muted, dash: "dot", width: 1 } },
      {
        x: used.map((i) => bins.confidence[i]), y: used.map((i) => bins.accuracy[i]), mode: "lines+markers",
        text: used.map((i) => `${bins.images[i]} images`), hovertemplate: "probability %{x:.2f}, accuracy %{y:.2f}, %{text}<extra></extra>",
        line: { color: theme.hit },
        marker: { color: theme.hit, size: used.map((i) => 6 + 14 * Math.sqrt(bins.images[i] / most)) },
      },
    ], theme.layout({
      x: { title: { text: "Predicted probability" }, range: [-0.02, 1.04] }, y: { title: { text: "Accuracy" }, range: [-0.02, 1.04] },
    }));
  }

  function drawLearningCurve(theme) {
    if (!data.curve) return;
    const { points, fit, doubling } = data.curve;
    const x = points.map((p) => p.images), y = points.map((p) => p.accuracy);
    const traces = [{
      x, y, mode: "lines+markers", name: "measured", line: { color: theme.hit }, hovertemplate: "%{x:.0f} images: %{y:.1%}<extra></extra>",
      error_y: {
        type: "data", symmetric: false, color: theme.hit, thickness: 1.2,
        array: points.map((p) => p.accuracy_ci[1] - p.accuracy), arrayminus: points.map((p) => p.accuracy - p.accuracy_ci[0]),
      },
    }];
    if (fit && doubling) {
      const from = Math.max(...x), steps = [...Array(21).keys()].map((i) => from + (doubling.images - from) * i / 20);
      traces.push({
        x: steps, y: steps.map((n) => fit.ceiling - fit.scale * n ** -fit.exponent), mode: "lines", name: "forecast",
        line: { color: theme.miss, dash: "dash" }, hovertemplate: "%{x:.0f} images: about %{y:.1%}<extra></extra>",
      });
    }
    const round = [...Array(12).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
    draw("learning", traces, theme.layout({
      x: { title: { text: "Training images" }, type: "log", tickvals: round, ticktext: round.map((n) => n.toLocaleString("en")) }, y: { title: { text: "Accuracy" }, tickformat: ".0%" }, legend: traces.length > 1,
    }));
  }

  function drawHistory(theme) {
    for (const metric of ["loss", "accuracy"]) {
      const traces = [["train", theme.muted], ["validation", theme.accent]]
        .filter(([part]) => data.history[`${part}_${metric}`])
        .map(([part, color]) => ({
          x: data.history.epoch, y: data.history[`${part}_${metric}`], name: part, mode: "lines+markers", line: { color },
        }));
      draw(metric, traces, theme.layout({ x: { title: { text: "Epoch" } }, y: { title: { text: metric[0].toUpperCase() + metric.slice(1) } }, legend: true }));
    }
  }

  function colourGroups(theme) {
    const by = document.querySelector("input[name=colour]:checked").value;
    const hue = (i, n) => `hsl(${Math.round(360 * i / Math.max(n, 1))} ${dark.matches && !printing.matches ? "60% 62%" : "62% 42%"})`;
    if (by === "split") return [splits, images.split, (i) => [theme.hit, hue(1, 3), theme.miss, theme.muted][i]];
    if (by === "prediction") {
      const state = images.prediction.map((prediction, i) => (prediction < 0 ? 2 : prediction === images.label[i] ? 0 : 1));
      return [["correct", "wrong", "not tested"], state, (i) => [theme.hit, theme.miss, theme.muted][i]];
    }
    const labels = images.label.map((code) => (code < 0 ? classes.length : code));
    return [[...classes, "no label"], labels, (i) => (i === classes.length ? theme.muted : hue(i, classes.length))];
  }

  const symbols = ["circle", "square", "diamond", "triangle-up", "cross"];

  let current = -1;

  // Selects the nearest image in the direction of an arrow key.
  function moveByKey(box, event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    let best = current < 0 ? 0 : current, least = Infinity;
    if (current >= 0) {
      images.x.forEach((x, i) => {
        const dx = x - images.x[current], dy = images.y[i] - images.y[current];
        const ahead = dx * step[0] + dy * step[1], beside = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
        if (i !== current && ahead > 0 && ahead >= beside && ahead + 2 * beside < least) {
          [best, least] = [i, ahead + 2 * beside];
        }
      });
    }
    current = best;
    Plotly.restyle(box, { x: [[images.x[best]]], y: [[images.y[best]]] }, [box.data.length - 1]);
    show(byId("seen"), best);
  }

  function drawMap(theme) {
    const box = byId("plane");
    if (!box || !images.x) return;
    const [names, codes, colour] = colourGroups(theme);
    const members = names.map(() => []);
    codes.forEach((code, i) => members[code].push(i));
    const traces = names.map((name, i) => ({
      x: members[i].map((n) => images.x[n]), y: members[i].map((n) => images.y[n]), customdata: members[i],
      name: plain(name), mode: "markers", type: "scatter", hoverinfo: "none",
      marker: { color: colour(i), size: codes.length > 2000 ? 5 : 7, opacity: name === "not tested" ? 0.25 : 0.75, symbol: symbols[i % symbols.length] },
    })).filter((trace) => trace.x.length);
    // A ring around the image selected with the keyboard; none at first.
    traces.push({ x: [], y: [], mode: "markers", type: "scatter", hoverinfo: "skip", showlegend: false,
      marker: { color: "rgba(0,0,0,0)", size: 16, line: { color: theme.ink, width: 3 } } });
    const bare = { showgrid: false, showline: false, showticklabels: false, title: { text: "" } };
    draw("plane", traces, theme.layout({
      x: bare, y: { ...bare, scaleanchor: "x" }, legend: traces.length <= 31,
      rest: { margin: { l: 8, r: 8, t: 8, b: 8 }, dragmode: "zoom", uirevision: 1, hovermode: "closest", legend: { orientation: "h", y: -0.02, yanchor: "top", itemsizing: "constant" } },
    }), { displayModeBar: true, scrollZoom: true, modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]] });
    if (!box.dataset.ready) {
      box.dataset.ready = "yes";
      box.on("plotly_hover", (event) => show(byId("seen"), event.points[0].customdata));
      box.on("plotly_click", (event) => show(byId("seen"), event.points[0].customdata));
      box.addEventListener("keydown", (event) => moveByKey(box, event));
    }
  }

  function drawAll() {
    const theme = readTheme();
    drawReliability(theme);
    drawLearningCurve(theme);
    drawHistory(theme);
    drawMap(theme);
  }

  drawAll();
  document.body.dataset.drawn = "yes";
  dark.addEventListener("change", drawAll);
  printing.addEventListener("change", drawAll);
  for (const choice of document.querySelectorAll("input[name=colour]")) {
    choice.addEventListener("change", () => drawMap(readTheme()));
  }
})();
