// Draws the figures. Texts from outside become text nodes only.
"use strict";
(() => {
  const { data, splits, byId, show, choose } = headstart;
  const { images, classes } = data;
  // Plotly interprets some HTML in labels.
  const short = (text) => ([...text].length > 30 ? `${[...text].slice(0, 29).join("")}…` : text);
  const plain = (text) => short(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

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

  // Intervals of points as plotly's error bars.
  const whiskers = (points, color) => ({
    type: "data", symmetric: false, color, thickness: 1.4, width: 3,
    array: points.map((p) => p.high - p.accuracy), arrayminus: points.map((p) => p.accuracy - p.low),
  });

  function drawReliability(theme) {
    const points = data.heads[Number(byId("head")?.value ?? 0)].reliability;
    const most = Math.max(1, ...points.map((p) => p.images));
    draw("reliability", [
      { x: [0, 1], y: [0, 1], mode: "lines", hoverinfo: "skip", line: { color: theme.muted, dash: "dot", width: 1 } },
      {
        x: points.map((p) => p.x), y: points.map((p) => p.accuracy), mode: "markers", error_y: whiskers(points, theme.hit),
        text: points.map((p) => `${p.images} images, interval ${p.low.toFixed(2)}–${p.high.toFixed(2)}`),
        hovertemplate: "probability %{x:.2f}, accuracy %{y:.2f}, %{text}<extra></extra>",
        marker: { color: theme.hit, opacity: 1, size: points.map((p) => 6 + 12 * Math.sqrt(p.images / most)) },
      },
    ], theme.layout({
      x: { title: { text: "Predicted probability" }, range: [-0.02, 1.04] }, y: { title: { text: "Accuracy" }, range: [-0.02, 1.04] },
    }));
  }

  function drawLearningCurve(theme) {
    if (!data.curve) return;
    const points = data.curve.points.map((p) => ({ ...p, low: p.accuracy_ci[0], high: p.accuracy_ci[1] }));
    const traces = [], expected = data.forecast, end = expected.at(-1);
    if (end) {
      const x = expected.map((p) => p.x), line = { width: 0 };
      const faint = theme.miss.replace("rgb(", "rgba(").replace(")", ",.16)");
      traces.push(
        { x, y: expected.map((p) => p.low), mode: "lines", line, hoverinfo: "skip", showlegend: false },
        { x, y: expected.map((p) => p.high), mode: "lines", line, hoverinfo: "skip", fill: "tonexty", fillcolor: faint, name: "95 % band" },
        { x, y: expected.map((p) => p.accuracy), mode: "lines", name: "forecast", line: { color: theme.miss, dash: "dash" },
          hovertemplate: "%{x:.0f} images: about %{y:.1%}<extra></extra>" },
        { x: [end.x], y: [end.accuracy], mode: "markers", showlegend: false, marker: { color: theme.miss, size: 7 }, error_y: whiskers([end], theme.miss),
          hovertemplate: "%{x:.0f} images: about %{y:.1%}<extra></extra>" },
      );
    }
    traces.push({
      x: points.map((p) => p.images), y: points.map((p) => p.accuracy), mode: "lines+markers", name: "measured",
      line: { color: theme.hit }, error_y: whiskers(points, theme.hit), hovertemplate: "%{x:.0f} images: %{y:.1%}<extra></extra>",
    });
    const last = end ? end.x : points.at(-1).images, first = points[0].images;
    const digits = last / first > 50 ? [1, 5] : [1, 2, 5];
    const round = [...Array(12).keys()].flatMap((power) => digits.map((digit) => digit * 10 ** power));
    const ticks = [...round.filter((n) => n >= first * 0.9 && n < last * 0.5), last];
    const bounds = [...points, ...expected], least = Math.min(...bounds.map((p) => p.low)), most = Math.max(...bounds.map((p) => p.high));
    const pad = Math.max(0.05, 0.06 * (most - least));
    draw("learning", traces, theme.layout({
      x: {
        title: { text: "Training images" }, type: "log", tickvals: ticks, ticktext: ticks.map((n) => n.toLocaleString("en")),
        range: [Math.log10(first * 0.9), Math.log10(last * 1.12)], tickangle: 0, ticks: "outside",
      },
      y: { title: { text: "Accuracy" }, tickformat: ".0%", range: [Math.max(0, least - pad), Math.min(1, most + pad) + pad / 8] },
      legend: traces.length > 1,
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
    }), { displayModeBar: true, scrollZoom: true, modeBarButtons: [["zoom2d", "pan2d", "lasso2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]] });
    if (!box.dataset.ready) {
      box.dataset.ready = "yes";
      box.on("plotly_hover", (event) => show(byId("seen"), event.points[0].customdata));
      box.on("plotly_click", (event) => show(byId("seen"), event.points[0].customdata));
      box.on("plotly_selected", (event) => event && choose(event.points.map((point) => point.customdata)));
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
  byId("head")?.addEventListener("change", () => drawReliability(readTheme()));
  for (const choice of document.querySelectorAll("input[name=colour]")) {
    choice.addEventListener("change", () => drawMap(readTheme()));
  }
})();
