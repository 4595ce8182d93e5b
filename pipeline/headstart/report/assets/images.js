// The page's images: pictures, the list behind a cell, filters and the selection that is saved.
// Texts from outside become text nodes only.
"use strict";
const headstart = (() => {
  const data = JSON.parse(document.getElementById("document").textContent);
  const { images, classes, heads } = data;
  const splits = ["training", "validation", data.outOfFold ? "out of fold" : "test", "not used"];
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, more) => Object.assign(document.createElement(tag), { textContent: text ?? "" }, more);
  const nameOf = (code) => (code < 0 ? "no label" : classes[code]);
  const all = images.path.map((_, number) => number);
  const corrected = new Map(); // labels that the reader chose, by image
  const selected = new Set();
  const labelOf = (number) => corrected.get(number) ?? images.label[number];
  // The answers of a head: of the best one, 0, with a probability.
  const answersOf = (head) => (head === 0 ? images.prediction : images.others[head - 1]) ?? [];

  const sheet = new Image();
  if (images.sheet) sheet.src = images.sheet;

  function thumbnail(number, large = false) {
    if (images.large && images.large[number]) {
      return Object.assign(new Image(), { src: images.large[number], alt: "" });
    }
    if (!images.sheet) return null;
    const side = images.side, size = large ? 192 : 96;
    const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
    const paint = () => canvas.getContext("2d").drawImage(
      sheet, side * (number % images.columns), side * Math.floor(number / images.columns),
      side, side, 0, 0, size, size);
    sheet.decode().then(paint, () => {});
    return canvas;
  }

  function picture(number) {
    const content = thumbnail(number);
    if (!content) return null;
    const button = make("button", "", { type: "button", className: "zoom" });
    button.dataset.image = number;
    button.setAttribute("aria-label", `Enlarge ${images.path[number]}`);
    button.append(content);
    return button;
  }

  function describe(number) {
    const words = make("div"), label = nameOf(labelOf(number));
    words.append(make("bdi", images.path[number], { className: "path" }));
    words.append(make("small", `${label}${corrected.has(number) ? " (corrected)" : ""}, ${splits[images.split[number]]}`));
    if (images.prediction[number] >= 0) {
      words.append(make("small", `predicted ${nameOf(images.prediction[number])}, probability ${images.probability[number]}`));
    }
    const doubt = images.doubts[number];
    if (doubt) words.append(make("small", `perhaps ${nameOf(doubt[0])} (score ${doubt[1]})`));
    return words;
  }

  function show(target, number) {
    target.replaceChildren(...[picture(number), describe(number)].filter(Boolean));
  }

  function openGallery(cell) {
    const label = Number(cell.dataset.true), prediction = Number(cell.dataset.predicted);
    const head = Number(cell.dataset.head ?? 0), answers = answersOf(head);
    const matches = all.filter((i) =>
      images.split[i] === 2 && images.label[i] === label && answers[i] === prediction);
    matches.sort((a, b) => images.probability[b] - images.probability[a]);
    byId("gallery-title").textContent = `${nameOf(label)} predicted as ${nameOf(prediction)}`;
    const total = Number(cell.textContent.replaceAll(",", ""));
    const by = head ? ` Predictions of ${heads[head].title}; the probabilities are the best head’s.` : "";
    byId("gallery-note").textContent = (matches.length < total
      ? `${matches.length} of ${total} images; the others are not in the sample on this page.`
      : total === 1 ? "1 image." : `${total} images, the most confident first.`) + by;
    byId("gallery-list").replaceChildren(...matches.map((number) => {
      const item = make("li");
      item.dataset.image = number;
      show(item, number);
      return item;
    }));
    byId("gallery").showModal();
    byId("gallery-title").focus();
  }

  // One picture, large, with all that is known of it; arrow keys go on to the next of its list.
  let around = [];
  function openViewer(number) {
    const viewer = byId("viewer");
    viewer.dataset.image = number;
    byId("viewer-picture").replaceChildren(...[thumbnail(number, true)].filter(Boolean));
    const words = describe(number);
    if (data.folder !== null) {
      const parts = images.path[number].split("/").map(encodeURIComponent).join("/");
      words.append(make("a", "Open the file", { href: `${data.folder}/${parts}`, target: "_blank", rel: "noopener" }));
    }
    byId("viewer-words").replaceChildren(words);
    const tested = heads.slice(1).filter((_, i) => (images.others[i] ?? [])[number] >= 0);
    byId("viewer-heads").replaceChildren(...tested.map((head) => {
      const answer = images.others[heads.indexOf(head) - 1][number];
      return make("li", `${head.title}: ${nameOf(answer)}${answer === images.label[number] ? "" : " (wrong)"}`);
    }));
    byId("viewer-label").value = labelOf(number);
    byId("viewer-back").disabled = byId("viewer-next").disabled = around.length < 2;
    if (!viewer.open) viewer.showModal();
  }
  function step(way) {
    const place = around.indexOf(Number(byId("viewer").dataset.image));
    openViewer(around[(place + way + around.length) % around.length]);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.zoom");
    if (!button) return;
    const list = button.closest("section, dialog").querySelectorAll("button.zoom");
    around = [...new Set([...list].map((other) => Number(other.dataset.image)))];
    openViewer(Number(button.dataset.image));
  });
  byId("viewer-back").addEventListener("click", () => step(-1));
  byId("viewer-next").addEventListener("click", () => step(1));
  byId("viewer").addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way && around.length > 1 && event.target.tagName !== "SELECT") step(way);
  });
  byId("viewer-label").append(make("option", "no label", { value: -1 }), ...classes.map((name, code) => make("option", name, { value: code })));
  byId("viewer-label").addEventListener("change", (event) => {
    correct([Number(byId("viewer").dataset.image)], () => Number(event.target.value));
  });
  for (const cell of document.querySelectorAll("button[data-true]")) {
    cell.addEventListener("click", () => openGallery(cell));
  }

  // Filters, selection and corrections.
  const PAGE = 48;
  let matches = [], shown = PAGE;
  const field = (name) => byId("filters").elements[name];
  const states = {
    correct: (i, answer) => answer >= 0 && answer === images.label[i],
    wrong: (i, answer) => answer >= 0 && answer !== images.label[i],
    "wrong-here": (i, answer) => answer >= 0 && answer !== images.label[i] && images.prediction[i] === images.label[i],
    doubtful: (i) => Boolean(images.doubts[i]),
    corrected: (i) => corrected.has(i),
    selected: (i) => selected.has(i),
  };

  function filter() {
    const text = field("text").value.trim().toLowerCase();
    const [label, answer, split] = ["label", "answer", "split"].map((name) => field(name).value);
    const answers = answersOf(Number(field("head").value)), state = states[field("state").value];
    const low = Number(field("low").value || 0), high = Number(field("high").value || 1);
    matches = all.filter((i) =>
      (!text || images.path[i].toLowerCase().includes(text))
      && (label === "" || labelOf(i) === Number(label))
      && (answer === "" || answers[i] === Number(answer))
      && (split === "" || images.split[i] === Number(split))
      && (!state || state(i, answers[i] ?? -1))
      && ((low <= 0 && high >= 1) || (images.probability[i] !== null && images.probability[i] >= low && images.probability[i] <= high)));
    const order = {
      confident: (a, b) => (images.probability[b] ?? -1) - (images.probability[a] ?? -1),
      doubtful: (a, b) => (images.probability[a] ?? 2) - (images.probability[b] ?? 2),
      path: (a, b) => (images.path[a] < images.path[b] ? -1 : 1),
    }[field("order").value];
    matches.sort(order);
    shown = PAGE;
    list();
  }

  function tile(number) {
    const item = make("li"), box = make("input", "", { type: "checkbox", checked: selected.has(number) });
    box.setAttribute("aria-label", `Select ${images.path[number]}`);
    box.addEventListener("change", () => {
      if (box.checked) selected.add(number); else selected.delete(number);
      count();
    });
    item.dataset.image = number;
    item.append(...[box, picture(number), describe(number)].filter(Boolean));
    return item;
  }

  const plural = (n) => `${n.toLocaleString("en")} image${n === 1 ? "" : "s"}`;
  function count() {
    byId("selection-count").textContent = `${plural(selected.size)} selected, ${corrected.size.toLocaleString("en")} corrected`;
    byId("save").disabled = byId("relabel").disabled = byId("clear").disabled = !selected.size;
    byId("save-all").disabled = !corrected.size;
  }

  function list() {
    byId("browse-count").textContent = `${plural(matches.length)} of ${all.length.toLocaleString("en")}`;
    byId("browse-list").replaceChildren(...matches.slice(0, shown).map(tile));
    byId("browse-more").hidden = matches.length <= shown;
    byId("select-all").disabled = !matches.length;
    count();
  }

  function correct(numbers, label) {
    for (const number of numbers) {
      const code = label(number);
      if (code === undefined || code < -1) continue;
      if (code === images.label[number]) corrected.delete(number); else corrected.set(number, code);
      selected.add(number);
    }
    list();
  }

  // CSV as `headstart features` reads it; names that cannot be shown are written as they are.
  function save(numbers, name, withSplit) {
    const exact = data.exact, cell = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = numbers.map((number) => [
      exact.path[number] ?? images.path[number],
      labelOf(number) < 0 ? "" : exact.classes[labelOf(number)] ?? classes[labelOf(number)],
      ...(withSplit ? [["train", "validation", "test", ""][images.split[number]]] : []),
    ].map(cell).join(","));
    const text = `${[["path", "label", ...(withSplit ? ["split"] : [])].join(","), ...rows].join("\n")}\n`;
    const link = make("a", "", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const inOrder = (numbers) => [...numbers].sort((a, b) => a - b);
  if (byId("browse")) {
    byId("browse").hidden = false;
    byId("filters").addEventListener("input", filter);
    byId("filters").addEventListener("reset", () => setTimeout(filter));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("browse-more").addEventListener("click", () => { shown += PAGE; list(); });
    byId("select-all").addEventListener("click", () => { matches.forEach((i) => selected.add(i)); list(); });
    byId("clear").addEventListener("click", () => { selected.clear(); list(); });
    byId("relabel").addEventListener("change", (event) => {
      const { value } = event.target;
      event.target.value = "";
      if (value === "undo") correct(selected, (i) => images.label[i]);
      else if (value === "suggested") correct(selected, (i) => images.doubts[i]?.[0]);
      else correct(selected, () => Number(value));
    });
    byId("save").addEventListener("click", () => save(inOrder(selected), "selection.csv", false));
    byId("save-all").addEventListener("click", () => (data.complete
      ? save(all.filter((i) => labelOf(i) >= 0), "labels.csv", !data.outOfFold)
      : save(inOrder(corrected.keys()), "corrections.csv", false)));
    filter();
    for (const link of document.querySelectorAll("[data-errors-of]")) {
      link.addEventListener("click", () => {
        byId("filters").reset();
        field("head").value = link.dataset.errorsOf;
        field("state").value = link.dataset.state ?? "wrong";
        filter();
        byId("explore").scrollIntoView();
      });
    }
  }

  function choose(numbers) {
    selected.clear();
    numbers.forEach((number) => selected.add(number));
    byId("filters").reset();
    field("state").value = "selected";
    filter();
  }

  return { data, splits, byId, make, nameOf, show, choose };
})();
