"""The short benchmarks in ten minutes on two cores: today's ratios against the last recorded ones.

    python benchmarks/bench.py DATA [--images 480] [--write]

Copies some photos of DATA, makes a store and a model of them, and runs the scripts in `parts`,
each a process, one at a time. A ratio compares two things that were measured in turn, so it says
more about Headstart than about the machine; still, other photos and another processor change it.
What fails, or what the time does not suffice for, leaves its rows empty. ``--write`` records
today's ratios for the next comparison.
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

import page
import photos
from headstart import backbones, datasets

HERE = Path(__file__).parent
LIMIT = 600  # seconds, all together
NAME, RECORD = 44, "results"  # width of a ratio's name; the section of the page
Ratios = Mapping[str, Sequence[float]]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=480)
    options = parser.parse_args()
    recorded = last(page.DATA / "bench.json")
    with page.recorded(options), tempfile.TemporaryDirectory() as folder:
        failed = benchmark(options, Path(folder), recorded)
    raise SystemExit(1 if failed else 0)


def last(file: Path) -> Ratios:
    """Return the recorded ratios by name; none if there is no record."""
    if not file.is_file():
        return {}
    ratios: Ratios = json.loads(file.read_text(encoding="utf-8"))[RECORD]["ratios"]
    return ratios


def benchmark(options: argparse.Namespace, folder: Path, recorded: Ratios) -> list[str]:
    """Run the parts and print the table; return what failed."""
    end = time.monotonic() + LIMIT
    copied = copy(options.data, options.images, folder / "photos")
    today: dict[str, list[float]] = {}
    failed = []
    for name, command in parts(copied, folder).items():
        print(f"{name} …", file=sys.stderr, flush=True)
        file, started = folder / f"{name}.json", time.monotonic()
        write = ["--json", str(file)] if command[0].endswith(".py") else []
        reason = run([sys.executable, *command, *write], end - started)
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
    for line in failed:
        print(f"not measured: {line}")
    return failed


def parts(folder: Path, out: Path) -> dict[str, list[str]]:
    """Return the commands by name; the first two make what the others measure with."""
    store, results, data = str(out / "photos.h5"), out / "results", str(folder)
    model, photo = str(results / "model.onnx"), str(next(folder.rglob("*.*")))
    network = backbones.DEFAULT
    small = ["--images", "128", "--large-images", "0", "--rivals", "dataloader"]
    scripts = {
        "starting": [model, photo, "--rounds", "5"],
        "predicting": [model, network, data, "--rounds", "2"],
        "serving": [model, data, "--rounds", "2", "--seconds", "2"],
        "heads": [store, "--rounds", "1"],
        "extraction": [data, *small, "--networks", network, "--rounds", "3"],
    }
    cli = ["-c", "from headstart.cli import main; main()"]
    return {
        "features": [*cli, "features", data, "--backbone", network, "--out", store],
        "train-heads": [*cli, "train-heads", store, "--out", str(results)],
    } | {name: [str(HERE / f"{name}.py"), *words] for name, words in scripts.items()}


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
            return "the time was over"
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
