"""What the whole tool gives on a folder of photos: embedding speed and the leaderboard.

Usage: python benchmarks/clothing.py DATA [--backbone NAME] [--write]

Runs ``headstart features`` and ``headstart train-heads`` as a user does, each in a process of its
own, and prints every head's test accuracy with its interval, and the seconds of both commands.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import page

HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    options = parser.parse_args()
    with page.recorded(options, markdown=True):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "store.h5", Path(folder) / "results"
        embedding = seconds(
            "features", options.data, "--backbone", options.backbone, "--out", store
        )
        again = seconds("features", options.data, "--backbone", options.backbone, "--out", store)
        training = seconds("train-heads", store, "--out", out)
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    page.sample("seconds", {"features": embedding, "again": again, "train-heads": training})
    page.sample("heads", *[*results["heads"], *results["baselines"]])
    print("| head | cross-validation | test accuracy (95 % interval) |\n|---|--:|--:|")
    for head in [*results["heads"], *results["baselines"]]:
        low, high = head["test_accuracy_ci"]
        print(
            f"| {head['name']} | {head['cv_accuracy']:.1%} | "
            f"{head['test_accuracy']:.1%} ({low:.1%}–{high:.1%}) |"
        )
    print(f"\n`headstart features` took {embedding:.0f} s, again with nothing new {again:.1f} s,")
    print(f"`headstart train-heads` {training:.0f} s.")


def seconds(*words: object) -> float:
    """Run a command and return how long it took."""
    started = time.perf_counter()
    subprocess.run([*HEADSTART, *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
