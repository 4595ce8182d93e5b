"""`headstart train-heads` on generated stores that grow past memory: time, peak memory, accuracy.

Usage: python benchmarks/past_memory.py [--rows 10000 100000 1000000] [--keep FOLDER]
       python benchmarks/past_memory.py --draw FILE.json FILE.svg

Each store is a folder of shards with 1,280 features a row in float16, as wide as the embedded
backbone's, whose extraction it claims so that a model file can be made; one row in five is the test
split. Features are what rectified units might give: 20 classes of five clusters each, in 48
dimensions that are mixed into 1,280, with noise. One row in a thousand repeats the bytes of the one
before it. The same numbers come out each time.

Every run is a process of its own, with the limit that ``headstart`` comes with (memory or disk, as
its size says) and, below it, from disk as well. The peak is the largest sum of resident memory over
the process and its children, looked at five times a second; files that the system keeps in memory
because it has room are not in it. Rows other than the default ones make a section of their own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import page
from headstart.core.targets import SINGLE_LABEL
from headstart.features.store import manifest
from headstart.features.store.columns import FORMAT, version_of
from headstart.features.store.seal import recorded_hash, seal
from rich.console import Console
from rich.table import Table

ROWS = (10_000, 100_000, 1_000_000)
DIM, HIDDEN, CLASSES, CLUSTERS = 1280, 48, 20, 5
SHARD = 62_500
BLOCK = 12_500
TEST = 5  # one row in so many
COPIES = 1000  # likewise
SPREAD, NOISE = 2.5, 2.0  # of a cluster, against 1 between the centres; of a feature
HEADS = ("logistic-regression", "linear-svm", "rbf-svm", "knn")
out = Console(width=130)


# ---- the store -----------------------------------------------------------------------------------


def make(folder: Path, rows: int, like: Path) -> None:
    """Write a store of generated features, which claims the extraction of another one."""
    folder.mkdir(parents=True)
    with h5py.File(like) as file:
        attributes = dict(file.attrs)
    classes = tuple(f"class {number:02d}" for number in range(CLASSES))
    shards = []
    for start in range(0, rows, SHARD):
        count = min(SHARD, rows - start)
        name = manifest.file_name(f"{start:08d}", 1)
        _write_shard(folder / name, start, count, classes, attributes)
        shards.append(manifest.Shard(name, count, 0, recorded_hash(folder / name)))
    manifest.write(
        folder,
        manifest.Manifest(
            extraction=json.loads(attributes["extraction"]),
            digest=attributes["digest"],
            classes=classes,
            shards=tuple(shards),
            listing={"images": rows, "digest": "generated", "shard_size": SHARD},
            run=json.loads(attributes["run"]),
            certificate=attributes["certificate"],
        ),
    )


def _write_shard(
    path: Path, start: int, count: int, classes: Sequence[str], attributes: dict
) -> None:
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        for name in ("extraction", "digest", "run", "certificate"):
            file.attrs[name] = attributes[name]
        file.attrs["format"], file.attrs["version"] = FORMAT, version_of(SINGLE_LABEL)
        file.attrs.create("classes", classes, dtype=text)
        names = [f"images/{row:08d}.jpg" for row in range(start, start + count)]
        file.create_dataset("path", data=names, dtype=text)
        splits = ["test" if row % TEST == 0 else "train" for row in range(start, start + count)]
        file.create_dataset("split", data=splits, dtype=text)
        features = file.create_dataset("features", (count, DIM), "f2")
        label = file.create_dataset("label", (count,), "i4")
        sha256 = file.create_dataset("sha256", (count, 32), "u1")
        at = 0
        for values, codes, hashes in _rows(start, count):
            rows = slice(at, at + len(values))
            features[rows], label[rows], sha256[rows] = values, codes, hashes
            at += len(values)
    seal(path)


def _rows(start: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield features, codes and hashes, block by block: each block has a seed of its own."""
    world = np.random.default_rng(0)
    centres = world.normal(size=(CLASSES, HIDDEN)) + 1.2 * world.normal(
        size=(CLUSTERS, CLASSES, HIDDEN)
    )
    mixing = world.normal(size=(HIDDEN, DIM)).astype(np.float32) / math.sqrt(HIDDEN)
    for first in range(start, start + count, BLOCK):
        n = min(BLOCK, start + count - first)
        rng = np.random.default_rng([1, first])
        codes, clusters = rng.integers(CLASSES, size=n), rng.integers(CLUSTERS, size=n)
        hidden = centres[clusters, codes] + SPREAD * rng.normal(size=(n, HIDDEN))
        values = hidden.astype(np.float32) @ mixing
        values += NOISE * rng.standard_normal((n, DIM), np.float32)
        values = np.maximum(values, 0).astype(np.float16)
        hashes = rng.integers(0, 256, (n, 32), np.uint8)
        copies = np.flatnonzero(np.arange(n) % COPIES == COPIES - 1)
        for column in (values, codes, hashes):
            column[copies] = column[copies - 1]
        yield values, codes, hashes


# ---- the runs ------------------------------------------------------------------------------------


def run(store: Path, results: Path, *options: str) -> dict:
    """Train heads on a store in a process of its own, and return what it took and gave."""
    command = [
        sys.executable,
        "-c",
        "from headstart.cli import main; main()",
        "train-heads",
        store,
        "--out",
        results,
    ]
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen([*map(str, command), *options])
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"train-heads ended with {process.returncode}")
    found = json.loads((results / "results.json").read_text())
    heads = {
        head["name"]: {
            key: head[key]
            for key in ("cv_accuracy", "test_accuracy", "seconds", "predict_seconds", "params",
                        "approximation")
        }
        for head in found["heads"]
    }  # fmt: skip
    return {
        "rows": sum(sum(of.values()) for of in found["dataset"]["images"].values()),
        "options": list(options),
        "seconds": time.perf_counter() - started,
        "peak_gib": peak / 2**30,
        "load": os.getloadavg()[1],
        "best": found["best"],
        "heads": heads,
        "insights": {"label_errors": found["insights"]["label_errors"]},
        "warnings": [warning["text"] for warning in found["warnings"]],
    }


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and all that come from it."""
    parents, pages = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)], pages[int(entry.name)] = int(fields[1]), int(fields[21])
    family, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return sum(pages.get(one, 0) for one in family) * os.sysconf("SC_PAGE_SIZE")


# ---- the plot ------------------------------------------------------------------------------------


def draw(runs: list[dict]) -> str:
    """Return the growth as one SVG: seconds a head from disk on the left, memory on the right."""
    seconds: dict[str, list] = {name: [] for name in HEADS}
    memory: dict[str, list] = {"from disk": [], "in memory": []}
    for one in sorted(runs, key=lambda one: one["rows"]):
        from_disk = any("stay on disk" in text for text in one["warnings"])
        if one["peak_gib"]:
            memory["from disk" if from_disk else "in memory"].append((one["rows"], one["peak_gib"]))
        if from_disk:
            for name, head in one["heads"].items():
                seconds[name].append((one["rows"], head["seconds"]))
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 420" font-family="sans-serif"'
            ' font-size="13" role="img" aria-label="Growth of train-heads with the rows">',
            '<rect width="960" height="420" fill="#fff"/>',
            *_panel(70, "search and final fit from disk, seconds", seconds, (1.0, 10_000.0)),
            *_panel(560, "peak memory of the whole run, GiB", memory, (0.1, 100.0)),
            "</svg>\n",
        ]
    )


COLOURS = ("#2563eb", "#059669", "#d97706", "#db2777")


def _panel(
    left: int, title: str, lines: dict[str, list[tuple[float, float]]], span: tuple[float, float]
) -> Iterator[str]:
    """Yield one pair of logarithmic axes with its lines."""
    width, top, height = 360, 60, 270
    low, high = map(math.log10, span)

    def place(rows: float, value: float) -> tuple[float, float]:
        x = left + 20 + (math.log10(rows) - 4) / 2 * (width - 40)
        return x, top + height - (math.log10(value) - low) / (high - low) * height

    yield f'<text x="{left}" y="36" font-size="15" font-weight="bold">{title}</text>'
    for power in range(math.ceil(low), math.floor(high) + 1):
        y = place(1e4, 10.0**power)[1]
        yield f'<path d="M{left} {y:.1f}h{width}" stroke="#d1d5db"/>'
        yield f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:,g}</text>'
    for rows in ROWS:
        x = place(rows, span[0])[0]
        yield f'<path d="M{x:.1f} {top}v{height}" stroke="#e5e7eb"/>'
        yield f'<text x="{x:.1f}" y="{top + height + 20}" text-anchor="middle">{rows:,}</text>'
    middle = left + width / 2
    yield f'<text x="{middle}" y="{top + height + 42}" text-anchor="middle">rows × 1,280</text>'
    held = [item for item in lines.items() if item[1]]
    for number, (name, points) in enumerate(held):
        colour, dash = COLOURS[number], ' stroke-dasharray="6 4"' if name == "in memory" else ""
        placed = [place(*point) for point in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in placed)
        y = top + 14 + 18 * number
        yield f'<path d="M{left + 28} {y - 4}h22" stroke="{colour}" stroke-width="2"{dash}/>'
        yield f'<text x="{left + 56}" y="{y}">{name}</text>'


def show(runs: list[dict]) -> None:
    table = Table(title="train-heads, 1,280 features in float16, 20 classes")
    for title in ("rows", "options", "seconds", "peak GiB", "load", *HEADS):
        table.add_column(title, justify="right")
    for one in runs:
        heads = [
            f"{h['seconds']:.0f} s, {h['cv_accuracy']:.4f}, {h['test_accuracy']:.4f}"
            if (h := one["heads"].get(name))
            else "–"
            for name in HEADS
        ]
        table.add_row(
            f"{one['rows']:,}", " ".join(one["options"]), f"{one['seconds']:.0f}",
            f"{one['peak_gib']:.2f}", f"{one['load']:.1f}", *heads,
        )  # fmt: skip
    out.print(table)


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--keep", type=Path, help="Folder of stores to keep, and to use if there.")
    parser.add_argument("--draw", type=Path, nargs=2, metavar=("JSON", "SVG"))
    args = parser.parse_args()
    if args.draw:
        args.draw[1].write_text(
            draw(json.loads(args.draw[0].read_text())["results"]["samples"]["runs"])
        )
        return
    some = tuple(args.rows) != ROWS
    section = "rows-" + "-".join(map(str, args.rows)) if some else "results"
    with page.recorded(args, section):
        show(benchmark(args))


def benchmark(args: argparse.Namespace) -> list[dict]:
    runs = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        headstart = [sys.executable, "-c", "from headstart.cli import main; main()"]
        photos, like = str(scratch / "photos"), scratch / "like.h5"
        subprocess.run([*headstart, "demo-data", photos], check=True)
        one_layer = ["--layer", "bn2"]  # of DIM features
        subprocess.run([*headstart, "features", photos, *one_layer, "--out", str(like)], check=True)
        for rows in args.rows:
            store = (args.keep or scratch) / f"rows-{rows}"
            if not store.exists():
                make(store, rows, like)
            small = 4 * rows * DIM <= 2**30
            for number, options in enumerate(([], ["--stream-above", "0"])[: 1 + small]):
                runs.append(run(store, scratch / f"results-{rows}-{number}", *options))
                page.sample("runs", runs[-1])
    return runs


if __name__ == "__main__":
    main()
