"""Try torchvision's and Keras' architectures and one network of each timm family.

Usage: python benchmarks/breadth.py RESULTS.jsonl [--items N] [--minutes M] [--only PART] [--again]
       [--table]

Each network is exported with random weights in a process of its own, within limits of CPU time and
memory, and set against its library's own pipeline (its transforms and forward) on drawn images of
several sizes. Results are appended to RESULTS.jsonl, one line a network, and become the table of
docs/backbones.md. A second run goes on where the first one stopped; what the page holds and the
file does not counts as tried, too. With --table only the table is written, from what there is.

Speed is one core's CPU time for one image, network alone, as images/s of two such cores. What else
the machine does slows that down, too (caches, shared cores), so every network takes turns with the
embedded one, image by image in the same process, and the ratio of the two is what to go by.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import page

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.catalogue import Entry
from headstart.backbones.inference import external_data
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import HeadstartError
from headstart.core.records import Choice
from headstart.core.torchvision_import import import_timm, import_torchvision
from headstart.datasets import demo, images
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
MEASURED = "Last measured "
CPU_SECONDS = 1500
GIBIBYTES = 18
MOST_GMACS = 200  # of torchvision's default sizes; a core computes some 20 GMACs a second
SIZES = (
    (400, 300),
    (300, 420),
    (224, 224),
    (640, 480),
    (180, 260),
    (333, 500),
    (512, 512),
    (96, 80),
)
TURNS = 6
LARGEST = 150e6  # parameters of a timm family's representative


def names() -> list[str]:
    """Return torchvision's default weights, Keras' networks and timm's families' smallest."""
    torchvisions: dict[str, list] = {}
    for entry in backbones.available("torchvision:"):
        torchvisions.setdefault(entry.architecture, []).append(entry)
    found = [representative(entries) for entries in torchvisions.values()]
    timm = import_timm()
    by_architecture: dict[str, list] = {}
    for entry in backbones.available("timm:"):
        by_architecture.setdefault(entry.architecture, []).append(entry)
    for family in timm.list_modules():
        members = [
            entry
            for name in timm.list_models(module=family)
            for entry in by_architecture.get(name, [])
            if entry.default and entry.parameters and 2e6 < entry.parameters < LARGEST
        ] or [e for n in timm.list_models(module=family) for e in by_architecture.get(n, [])]
        members.sort(key=lambda entry: (not entry.url, entry.parameters or 0))
        found += members[:1]
    # torchvision first, and cheap ones first: a run that is cut short has tried most of them.
    found += backbones.available("keras:")
    found.sort(key=lambda entry: (not entry.name.startswith("torchvision:"), entry.gmacs or 999))
    return [entry.name for entry in found]


def representative(entries: list) -> Entry:
    """Return an architecture's default, or the cheapest of its sizes if that takes too long."""
    default = next(entry for entry in entries if entry.default)
    cheapest = min(entries, key=lambda entry: entry.gmacs or 0)
    return cheapest if (default.gmacs or 0) > MOST_GMACS else default


def attempt(name: str) -> dict[str, object]:
    """Export one network and compare it with its library's pipeline."""
    import torch

    torch.set_num_threads(1)
    candidate = backbones.find(Choice(name, "random"))
    entry = candidate.entry
    row: dict[str, object] = {
        "name": name,
        "parameters": entry.parameters,
        "gmacs": entry.gmacs,
        "size": entry.size,
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            module, backbone = candidate.load()
            path = Path(folder) / "model.onnx"
            started = time.process_time()
            parity = export.export(module, backbone, path)
            row |= {"export_seconds": round(time.process_time() - started, 1)}
            row |= {
                "features": backbone.dim,
                "megabytes": round(external_data.size_of(path) / 1e6, 1),
            }
            row |= {"onnx_cosine": parity.min_cosine}
            row |= against_library(name, candidate, module, Runner(path))
        except (HeadstartError, MemoryError) as error:
            row["error"] = f"{error}"[:300]
    return row


def against_library(name, candidate, module, runner) -> dict[str, float]:
    """Return cosines to the library's pipeline, of features and of features less their mean."""
    import torch

    files = [photo(number, size) for number, size in enumerate(SIZES)]
    pipeline = {"timm": timms, "torchvision": torchvisions, "keras": kerass}[name.partition(":")[0]]
    prepare, forward = pipeline(candidate, module)
    with torch.inference_mode():
        theirs = np.concatenate([forward(prepare(file)[None]) for file in map(io.BytesIO, files)])
    crops = [images.decode(data, runner.backbone.preprocess)[np.newaxis] for data in files]
    ours = np.concatenate([runner.embed(crop) for crop in crops]).astype(np.float64)
    plain, centred = cosine(ours, theirs), cosine(ours - theirs.mean(0), theirs - theirs.mean(0))
    seconds, reference = in_turns(runner, crops)
    return {
        "cosine_mean": float(plain.mean()),
        "cosine_min": float(plain.min()),
        "centred_mean": float(centred.mean()),
        "centred_min": float(centred.min()),
        "images_per_second": 2 / seconds,
        "relative": reference / seconds,
    }


def timms(candidate, module):
    """Give timm's transforms and the network's forward."""
    timm = import_timm()
    config = timm.get_pretrained_cfg(candidate.entry.name.partition(":")[2]).to_dict()
    config = timm.data.resolve_data_config(pretrained_cfg=config)
    return torchs(timm.data.create_transform(**config), module)


def torchvisions(candidate, module):
    """Give torchvision's transforms and the network's forward."""
    enum = import_torchvision().models.get_model_weights(candidate.entry.architecture)
    return torchs(enum[candidate.entry.name.rpartition("@")[2]].transforms(), module)


def torchs(transform, module):
    return (
        lambda file: transform(Image.open(file).convert("RGB")),
        lambda batch: module(batch).double().numpy(),
    )


def kerass(candidate, module):
    """Give Keras' way to load and prepare an image, and its model up to the classifier."""
    from headstart.backbones import keras_import

    keras = keras_import.import_keras()
    model = candidate.build().module  # random weights are the same in every build
    classifier = [layer for layer in model.layers if layer.weights][-1]
    extractor = keras.Model(model.input, classifier.input)
    function = getattr(keras.applications, candidate.entry.architecture)
    preprocess_input = sys.modules[function.__module__].preprocess_input

    def prepare(file):
        image = keras.utils.load_img(file, target_size=model.input_shape[1:3])
        return preprocess_input(keras.utils.img_to_array(image))

    def forward(batch):
        out = extractor(batch, training=False).numpy().astype(np.float64)
        return out.mean((1, 2)) if out.ndim == 4 else out

    return prepare, forward


def in_turns(runner: Runner, crops: list) -> tuple[float, float]:
    """Return CPU seconds an image: of a network, and of the embedded one that takes turns with it.

    A turn takes about a quarter of a second, because CPU time is told in steps of up to 10 ms.
    """
    embedded = Runner(export.model_file("efficientnet-lite0")[0])
    blank = np.zeros((1, *embedded.backbone.preprocess.size, 3), np.uint8)
    pairs = ((runner, crops), (embedded, [blank]))
    counts, spent = [], [0.0, 0.0]
    for network, images_ in pairs:
        started = time.perf_counter()
        for image in images_[:3]:
            network.embed(image)
        each = (time.perf_counter() - started) / len(images_[:3])
        counts.append(max(1, min(400, round(0.25 / each))))
    for _ in range(TURNS):
        for at, (network, images_) in enumerate(pairs):
            started = time.process_time()
            for number in range(counts[at]):
                network.embed(images_[number % len(images_)])
            spent[at] += time.process_time() - started
    return spent[0] / counts[0] / TURNS, spent[1] / counts[1] / TURNS


def photo(number: int, size: tuple[int, int]) -> bytes:
    surface = demo.draw(
        demo.CLASSES[number % len(demo.CLASSES)], np.random.default_rng(number), max(size)
    )
    return images.encode(surface[: size[1], : size[0]], "PNG")


def cosine(left, right):
    return (left * right).sum(1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))


def in_a_process(name: str) -> dict[str, object]:
    command = [sys.executable, __file__, "-", "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode in (-9, -24):
        last = f"more than {CPU_SECONDS} s of CPU time or {GIBIBYTES} GiB"
    return {"name": name, "error": f"ended with {done.returncode}: {last[:200]}"}


def table(rows: list[dict], wanted: list[str], measured: str) -> str:
    """Return the page: what works, with its figures, and what does not, with the reason."""
    good = [row for row in rows if "error" not in row]
    bad = [row for row in rows if "error" in row]
    tried = {row["name"] for row in rows}
    left = [name for name in wanted if name not in tried]
    lines = [
        "# Backbones that were tried",
        "",
        "Every architecture of torchvision and of Keras Applications, and one network of each timm",
        "family, exported with random weights (seed 0) by",
        "[`benchmarks/breadth.py`](../benchmarks/breadth.py):",
        "`python benchmarks/breadth.py RESULTS.jsonl`.",
        f"{MEASURED}{measured}.",
        "",
        "*Cosine* compares the features with the library's own transforms and forward pass on",
        "eight drawn images of several sizes (mean and minimum). *Centred* is the minimum once",
        "the mean feature is subtracted, as random networks give similar features to everything.",
        "*Relative* is the speed relative to the built-in network, which took turns with it.",
        "*Images/s* are of two cores, network alone, from CPU time on a machine that others used",
        "too: an indication only.",
        "",
        f"Tried {len(rows)} of {len(wanted)}: {len(good)} work, {len(bad)} do not.",
        "",
        "| backbone | M params | GMACs | features | input | cosine | centred | relative "
        "| images/s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| `{row['name']}` | {figure(row['parameters'], 1e6)} | {figure(row['gmacs'])} "
        f"| {row['features']:,} | {row['size'][0]} × {row['size'][1]} "
        f"| {row['cosine_mean']:.5f} / {row['cosine_min']:.5f} | {row['centred_min']:.4f} "
        f"| {row['relative']:.3g} | {row['images_per_second']:.1f} |"
        for row in sorted(good, key=lambda row: row["name"])
    ]
    if bad:
        lines += ["", "## What does not work, and why", "", "| backbone | reason |", "|---|---|"]
        lines += [
            f"| `{row['name']}` | {row['error'].replace('|', '/')} |"
            for row in sorted(bad, key=lambda row: row["name"])
        ]
    if left:
        lines += ["", "## Not tried yet", "", ", ".join(f"`{name}`" for name in left)]
    return "\n".join(lines) + "\n"


def measured_of(text: str) -> str:
    """Return when and where the rows of a page were measured, as it says."""
    found = re.search(rf"^{MEASURED}(.*)\.$", text, re.MULTILINE)
    return found[1] if found else "unknown"


def rows_of(text: str) -> list[dict]:
    """Return the rows of a page that `table` wrote, as precisely as they are printed there."""
    rows = []
    for line in text.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        name = name.strip("`")
        if ":" not in name:
            continue
        if len(cells) == 1:
            rows.append({"name": name, "error": cells[0]})
        elif len(cells) == 8:
            parameters, gmacs, features, size, both, centred, relative, speed = cells
            mean, smallest = map(float, both.split(" / "))
            rows.append(
                {
                    "name": name,
                    "parameters": None if parameters == "–" else 1e6 * float(parameters),
                    "gmacs": None if gmacs == "–" else float(gmacs),
                    "features": int(features.replace(",", "")),
                    "size": [int(side) for side in size.split(" × ")],
                    "cosine_mean": mean,
                    "cosine_min": smallest,
                    "centred_min": float(centred),
                    "relative": float(relative),
                    "images_per_second": float(speed),
                }
            )
    return rows


def figure(value: float | None, unit: float = 1) -> str:
    return "–" if value is None else f"{value / unit:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--items", type=int, default=10**6, help="how many to try in this run")
    parser.add_argument("--minutes", type=float, default=1e9, help="start none after that long")
    parser.add_argument("--only", default="")
    parser.add_argument("--again", action="store_true", help="try again what did not work")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(attempt(options.one)))
        return
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    rows, measured = rows_of(text), measured_of(text)
    if options.results.exists():
        rows += map(json.loads, options.results.read_text().splitlines())
    held = {row["name"]: row for row in rows if "error" in row or "relative" in row}
    wanted = names()
    held = {name: row for name, row in held.items() if name in wanted}
    todo = [
        name
        for name in wanted
        if options.only in name and (name not in held or (options.again and "error" in held[name]))
    ]
    until = time.monotonic() + 60 * options.minutes
    for name in [] if options.table else todo[: options.items]:
        if time.monotonic() > until:
            break
        held[name] = in_a_process(name)
        with options.results.open("a") as file:
            file.write(json.dumps(held[name]) + "\n")
        measured = f"{page.when()}, {page.where()}"
        print(name, held[name].get("error", "works"), flush=True)
    PAGE.write_text(table(list(held.values()), wanted, measured), encoding="utf-8")
    print(f"{len(todo)} were left to try; {PAGE}")


if __name__ == "__main__":
    main()
