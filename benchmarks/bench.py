"""The short benchmarks in ten minutes on two cores: today's ratios against the last recorded ones.

    python benchmarks/bench.py DATA [--images 480] [--write]

Copies some photos of DATA, makes a store and a model of them, and runs the scripts in `parts`,
each a process, one at a time, those first whose ratios matter most. A slower machine gets fewer
photos and rounds: a probe embeds a few photos before. Each part may take its share of the time that
is left, so a slow one does not cost the others theirs.

A ratio compares two things that were measured in turn, so it says more about Headstart than about
the machine; still, other photos, fewer of them and another processor change it. What fails, or
what its share of the time does not suffice for, leaves its rows empty. ``--write`` records today's
ratios for the next comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import page
import photos
from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.core.parallel import available_cores
from headstart.datasets import images as decoding

HERE = Path(__file__).parent
LIMIT = 570  # seconds, all together; the rest of ten minutes is for the start and the end
NAME, RECORD = 44, "results"  # width of a ratio's name; the section of the page
IMAGES, FEWEST = 480, 160  # photos, and those of a slow machine
SLOW = 0.6  # the share of `SPEED` below which there are fewer rounds too
PROBED = 24  # photos that say how fast the machine is
SPEED = 170.0  # photos/s that read, decoded and inferred one by one give on two cores of a server
# Seconds that each part took on such cores, which had as much to do besides; in the order in which
# they run. They are its share of the time that is left.
SHARES = {
    "features": 15,
    "heads": 60,
    "extraction": 160,
    "train-heads": 20,
    "serving": 30,
    "predicting": 30,
    "starting": 25,
}
Ratios = Mapping[str, Sequence[float]]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, help="[default: as many as the machine is fast]")
    options = parser.parse_args()
    recorded, count = last(page.DATA / "bench.json")
    with page.recorded(options), tempfile.TemporaryDirectory() as folder:
        failed = benchmark(options, Path(folder), recorded, count)
    raise SystemExit(1 if failed else 0)


def last(file: Path) -> tuple[Ratios, int]:
    """Return the recorded ratios by name and the number of photos; none if there is no record."""
    if not file.is_file():
        return {}, 0
    section = json.loads(file.read_text(encoding="utf-8"))[RECORD]
    return section["ratios"], section["samples"].get("photos", [0])[0]


def benchmark(
    options: argparse.Namespace, folder: Path, recorded: Ratios, photos_then: int
) -> list[str]:
    """Run the parts and print the table; return what failed."""
    end = time.monotonic() + LIMIT
    model = export.model_file(backbones.DEFAULT)[0]
    scale = min(1.0, speed(options.data, model) / SPEED)
    count = options.images or max(FEWEST, round(scale * IMAGES))
    page.sample("scale", scale)
    page.sample("photos", count)
    copied = copy(options.data, count, folder / "photos")
    today: dict[str, list[float]] = {}
    failed = []
    commands = parts(copied, folder, scale)
    for number, (name, command) in enumerate(commands.items()):
        file, started = folder / f"{name}.json", time.monotonic()
        limit = share([*commands][number:], end - started)
        print(f"{name}, at most {limit:.0f} s …", file=sys.stderr, flush=True)
        write = ["--json", str(file)] if command[0].endswith(".py") else []
        reason = run([sys.executable, *command, *write], limit)
        page.sample(f"{name}: seconds", round(time.monotonic() - started, 1))
        if reason:
            failed.append(f"{name}: {reason}")
        elif write:
            sections = json.loads(file.read_text(encoding="utf-8"))
            for section in sections.values():
                page.sample(f"{name}: samples", section["samples"])
                for what, values in section["ratios"].items():
                    today[f"{name}: {what}"] = values
                    page.ratio(f"{name}: {what}", values)
    print(table(recorded, today))
    if photos_then and photos_then != count:
        print(f"{count} photos, {photos_then} when recorded: ratios of heads grow with them")
    for line in failed:
        print(f"not measured: {line}")
    return failed


def speed(data: str, model: Path) -> float:
    """Return how many photos a second all cores read, decode and infer one by one, about."""
    runner = Runner(model)
    paths, best = photos.sample(data, PROBED), 0.0
    for _ in range(3):  # the first reads from the disk, and any may be disturbed
        started = time.perf_counter()
        for path in paths:
            crop = decoding.decode(decoding.read_file(path)[0], runner.backbone.preprocess)
            runner.embed(crop[np.newaxis])
        best = max(best, len(paths) / (time.perf_counter() - started))
    return best * available_cores()


def share(names: Sequence[str], left: float) -> float:
    """Return the seconds that the first of some parts may take of those that are left for all."""
    weights = [SHARES.get(name, 1) for name in names]
    return left * weights[0] / sum(weights)


def parts(folder: Path, out: Path, scale: float) -> dict[str, list[str]]:
    """Return the commands by name, in the order of `SHARES`; ``scale`` is 1, or less if slow."""
    store, results, data = str(out / "photos.h5"), out / "results", str(folder)
    model, photo = str(results / "model.onnx"), str(next(folder.rglob("*.*")))
    network = backbones.DEFAULT
    slow = scale < SLOW
    small = ["--large-images", "0", "--rivals", "dataloader", "--trial", "short"]
    small += ["--images", str(max(64, round(128 * scale))), "--rival-images", "32"]
    scripts = {
        "starting": [model, photo, "--rounds", "3" if slow else "5"],
        "predicting": [model, network, data, "--rounds", "2"],
        "serving": [model, data, "--rounds", "1" if slow else "2", "--seconds", "2"],
        "heads": [store, "--rounds", "1"],
        "extraction": [data, *small, "--networks", network, "--rounds", "2"],
    }
    cli = ["-c", "from headstart.cli import main; main()"]
    commands = {
        "features": [*cli, "features", data, "--backbone", network, "--out", store],
        "train-heads": [*cli, "train-heads", store, "--out", str(results)],
    } | {name: [str(HERE / f"{name}.py"), *words] for name, words in scripts.items()}
    return {name: commands[name] for name in SHARES}


def copy(data: str, count: int, folder: Path) -> Path:
    """Copy images of a source, evenly spread, to a folder by split and class; every fifth tests."""
    listing = datasets.open_source(data)
    chosen = photos.spread([ref for ref in listing.images if ref.label], count)
    for number, ref in enumerate(chosen):
        path = datasets.location(listing, ref)
        place = folder / ("train" if number % 5 else "test") / ref.label
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"{number:05}{path.suffix}")
    return folder


def run(command: Sequence[str], seconds: float) -> str:
    """Run a command; return why it failed, or nothing."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=max(1, seconds))
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"its share of the time, {seconds:.0f} s, was over"
        raise
    lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
    return lines[-1] if process.returncode else ""


def table(recorded: Ratios, today: Ratios) -> str:
    """Return the medians side by side, in at most 80 columns."""
    lines = [f"{'ratio':{NAME}} {'recorded':>9} {'today':>9} {'change':>8}"]
    for name in dict.fromkeys([*recorded, *today]):
        before, now = (
            statistics.median(ratios[name]) if ratios.get(name) else None
            for ratios in (recorded, today)
        )
        change = f"{now / before - 1:+.0%}" if before and now else "–"
        cells = (f"{value:.2f}" if value else "–" for value in (before, now))
        shown = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
        lines.append(" ".join([f"{shown:{NAME}}", *(f"{c:>9}" for c in cells), f"{change:>8}"]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
