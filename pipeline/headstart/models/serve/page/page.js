// Sends one image at a time and shows the answer. Texts from outside become text nodes only.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, name) => Object.assign(document.createElement(tag), { textContent: text ?? "", className: name ?? "" });
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const FIRST = 8; // classes shown before "Show more"
  const EXAMPLES = 24; // classes on the first screen
  let about = { nearest: "", max_bytes: Infinity, min_confidence: 0 };
  let latest = 0; // an answer to an image that is no longer shown is dropped
  let address = "";

  async function describe() {
    const model = about = await (await fetch("/model")).json();
    byId("name").textContent = model.dataset || model.name;
    document.title = `${model.dataset || model.name}: classify an image`;
    const interval = model.test_accuracy_ci ? ` [${model.test_accuracy_ci.map(percent).join(", ")}]` : "";
    byId("about").textContent = [
      model.dataset ? model.name : "", `${model.classes.length} classes`, [model.head, model.backbone].filter(Boolean).join(" on "),
      typeof model.test_accuracy === "number" ? `accuracy ${percent(model.test_accuracy)}${interval}` : "",
      `images up to ${Math.floor(model.max_bytes / 2 ** 20)} MiB`,
    ].filter(Boolean).join("; ");
    byId("warning").textContent = model.warning;
    byId("warning").hidden = !model.warning;
    introduce(model);
  }

  // The classes that the model knows, each with a training image that can be classified.
  function introduce({ classes, examples }) {
    const list = byId("classes"), more = byId("more-classes"), pictured = Object.keys(examples).length > 0;
    list.classList.toggle("plain", !pictured);
    byId("first-title").textContent = pictured ? "Classes, with an example each" : "Classes";
    byId("first-note").textContent = pictured ? "Select one to see what the model makes of it: a training image, reduced in size." : "";
    const item = (name) => {
      const entry = make("li");
      if (!examples[name]) {
        entry.append(make("bdi", name));
        return entry;
      }
      const button = Object.assign(make("button"), { type: "button" });
      const picture = Object.assign(new Image(), { src: examples[name], alt: "", loading: "lazy" });
      picture.addEventListener("error", () => picture.remove());
      button.append(picture, make("bdi", name));
      button.addEventListener("click", async () => {
        const content = await (await fetch(examples[name])).blob();
        classify(new File([content], `example of ${name}`));
      });
      entry.append(button);
      return entry;
    };
    list.replaceChildren(...classes.slice(0, EXAMPLES).map(item));
    const rest = classes.slice(EXAMPLES);
    more.hidden = !rest.length;
    more.textContent = `Show ${rest.length} more`;
    more.onclick = () => {
      list.append(...rest.map(item));
      more.hidden = true;
    };
    byId("first").hidden = false;
  }

  function bar([name, share]) {
    const row = make("li"), track = make("span", "", "bar"), fill = make("b");
    fill.style.inlineSize = `${100 * share}%`;
    track.setAttribute("aria-hidden", "true");
    track.append(fill);
    row.append(make("bdi", name), track, make("span", percent(share), "n"));
    return row;
  }

  function bars(probabilities) {
    const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
    byId("bars").replaceChildren(...sorted.slice(0, FIRST).map(bar));
    const rest = sorted.slice(FIRST), more = byId("more");
    more.hidden = !rest.length;
    more.textContent = `Show ${rest.length} more`;
    more.onclick = () => {
      byId("bars").append(...rest.map(bar));
      more.hidden = true;
    };
  }

  function nearItem(neighbour) {
    const item = make("li");
    const picture = Object.assign(new Image(), { src: neighbour.thumbnail, alt: "" });
    picture.addEventListener("error", () => picture.replaceWith(make("span", "no thumbnail", "blank")));
    item.append(picture, make("bdi", neighbour.label), make("small", `distance ${neighbour.distance.toFixed(3)}`));
    const path = make("small");
    path.append(make("bdi", neighbour.path));
    item.append(path);
    return item;
  }

  function show(answer) {
    const named = (name) => `${name}, ${percent(answer.probabilities[name])}`;
    const unsure = answer.probability < about.min_confidence;
    byId("label").textContent = answer.labels ? answer.labels.map(named).join("; ") || "none of the labels"
      : unsure ? `${answer.label}: no class reaches ${percent(about.min_confidence)}` : named(answer.label);
    const set = answer.set ?? [];
    byId("set").hidden = !set.length;
    byId("set").replaceChildren(
      `For ${percent(about.set_level ?? 0)} of the images${about.sets === "by-class" ? " of each class" : ""} the true class is in this set: `,
      ...set.flatMap((name, place) => [place ? ", " : "", make("bdi", name)]),
    );
    byId("unlike").hidden = !answer.unlike;
    byId("unusual").hidden = !answer.unusual || answer.unlike;
    bars(answer.probabilities);
    byId("nearest").replaceChildren(...(answer.nearest ?? []).map(nearItem));
    byId("none").hidden = answer.nearest !== null;
    byId("none").textContent = `Not available${about.nearest ? `: ${about.nearest}` : "; the server was started with --nearest 0"}.`;
    const took = answer.milliseconds;
    byId("time").textContent = `${took.total.toFixed(1)} ms on the server: decoding ${took.decode.toFixed(1)}, waiting ${took.wait.toFixed(1)}, inference ${took.inference.toFixed(1)}`;
    byId("result").hidden = false;
    byId("label").focus();
  }

  async function classify(file) {
    const mine = ++latest;
    byId("error").textContent = "";
    byId("result").hidden = true;
    if (file.size > about.max_bytes) {
      byId("error").textContent = `${file.name} is larger than ${Math.floor(about.max_bytes / 2 ** 20)} MiB.`;
      return;
    }
    byId("state").textContent = `Classifying ${file.name}…`;
    try {
      const reply = await fetch("/predict", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
      const answer = await reply.json();
      if (mine !== latest) return;
      if (!reply.ok) throw new Error(answer.error);
      URL.revokeObjectURL(address);
      byId("shown").src = address = URL.createObjectURL(file);
      byId("file-name").textContent = file.name;
      show(answer);
    } catch (error) {
      if (mine === latest) byId("error").textContent = error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message;
    } finally {
      if (mine === latest) byId("state").textContent = "";
    }
  }

  byId("file").addEventListener("change", (event) => {
    if (event.target.files.length) classify(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) classify(event.clipboardData.files[0]);
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    if (event.dataTransfer.files.length) classify(event.dataTransfer.files[0]);
  });

  describe().catch(() => { byId("error").textContent = "The server does not answer. Is it still running?"; });
})();
