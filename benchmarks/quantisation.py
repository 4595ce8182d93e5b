"""int8 against fp32: drift, accuracy and speed, by network.

Usage: python benchmarks/quantisation.py DATA [--rounds N] [--networks A,B]

Drift and accuracy are what ``headstart features --precision int8`` would measure on DATA. Speed is
inference alone on one thread, four images at a time, both files in turn; ratios are of runs beside
each other. All networks but efficientnet-lite0 have random weights: their speed is real, their
drift says little.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from pathlib import Path

import alternate
import networks
import numpy as np
import page
from headstart import backbones, datasets
from headstart.backbones.inference.precision_choice import quantised
from headstart.backbones.inference.runner import CPU_BATCH, Runner
from headstart.core.parallel import available_cores
from rich.console import Console
from rich.table import Table

BATCHES = 8


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", default="efficientnet-lite0,resnet18,mobilenet_v3_large")
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    listing = datasets.open_source(options.data)
    cache = Path(tempfile.gettempdir()) / "headstart-bench" / "models"
    table = Table("network", "cosine mean", "min", "accuracy fp32", "int8", "fp32/s", "int8 ÷ fp32")
    for name in options.networks.split(","):
        model = networks.model_file(name, cache)
        path, drift = quantised(model, listing, available_cores())
        speeds = measure({"fp32": model, "int8": path}, options.rounds)
        ratios = alternate.paired(speeds["int8"], speeds["fp32"])
        page.sample(name, {"drift": dataclasses.asdict(drift), "images/s": speeds})
        page.ratio(f"{name}: int8 / fp32", ratios)
        shares = [drift.accuracy_fp32, drift.accuracy]
        table.add_row(
            name if name == backbones.DEFAULT else f"{name} (random)",
            f"{drift.mean_cosine:.4f}",
            f"{drift.min_cosine:.4f}",
            *["–" if share is None else f"{100 * share:.1f} %" for share in shares],
            alternate.show(speeds["fp32"]),
            alternate.show(ratios, 2),
        )
    flags = ", ".join(alternate.machine()["flags"])
    Console(width=int(os.environ.get("COLUMNS", "140"))).print(table, f"processor: {flags}")


def measure(files: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Return images a second of one thread, round by round."""
    runners = {name: Runner(path) for name, path in files.items()}
    size = next(iter(runners.values())).backbone.preprocess.size
    images = np.random.default_rng(0).integers(0, 256, (CPU_BATCH, *size, 3), np.uint8)

    def speed(runner: Runner) -> float:
        started = time.perf_counter()
        for _ in range(BATCHES):
            runner.embed(images)
        return BATCHES * CPU_BATCH / (time.perf_counter() - started)

    for runner in runners.values():
        runner.embed(images)
    return alternate.rounds({n: lambda r=r: speed(r) for n, r in runners.items()}, rounds)


if __name__ == "__main__":
    main()
