"""Peak memory of `headstart features` and `verify`, against the number of images.

Usage: python benchmarks/memory.py [--images 1000 100000]

Makes a folder of that many small JPEG files (64 × 48 pixels, 16 drawings, each file with a comment
of its own, so that every one has unique bytes and is really decoded) and a small convolutional
backbone of 64 features with random weights, exported as every other; the network's own memory
would be the same for any number of images. Each figure is the peak resident memory (VmHWM) of one
process: a first run, a second one that finds nothing to do, one after ten images were added, and
`headstart verify`. The claim: more images cost at most 100 MB more, however many.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import page
from headstart.datasets import demo
from PIL import Image
from rich.console import Console
from rich.table import Table

FOLDERS = 10
DRAWINGS = 16
out = Console()

BACKBONE = """
    import sys
    from pathlib import Path
    import torch
    from headstart.backbones import export
    from headstart.core.records import Backbone, Preprocess

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 5, stride=3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    )
    half = (0.5, 0.5, 0.5)
    export.export(module.eval(), Backbone(
        name="small", source="seeded random weights", weights_sha256="0" * 64,
        licence="Apache-2.0", layer="conv", pool="avg", precision="fp32", dim=64,
        mean=half, std=half, preprocess=Preprocess(resize=36, crop=32),
    ), Path(sys.argv[1]))
"""
MEASURED = """
    import sys
    from pathlib import Path
    from headstart.cli import main

    peak = Path(sys.argv.pop(1))
    try:
        main()
    finally:
        status = Path("/proc/self/status").read_text()
        peak.write_text(status.partition("VmHWM:")[2].split()[0])
"""


def make_images(root: Path, numbers: range) -> None:
    """Write files that differ by a comment of their own."""
    drawings = []
    for seed in range(DRAWINGS):
        buffer = io.BytesIO()
        name = demo.CLASSES[seed % len(demo.CLASSES)]
        pixels = demo.draw(name, np.random.default_rng(seed), 64)[:48]
        Image.fromarray(pixels).save(buffer, "JPEG")
        drawings.append(buffer.getvalue())
    for folder in range(FOLDERS):
        (root / f"class {folder}").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        data = drawings[number % DRAWINGS]
        comment = b"image %09d" % number
        segment = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment
        path = root / f"class {number % FOLDERS}" / f"IMG_{number:06d}.jpg"
        path.write_bytes(data[:2] + segment + data[2:])


def peak(folder: Path, *words: object) -> tuple[float, float]:
    """Run one command; returns its peak memory in MB and its seconds."""
    report = folder / "peak"
    command = [sys.executable, "-c", textwrap.dedent(MEASURED), str(report), *map(str, words)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return int(report.read_text()) / 1024, time.perf_counter() - started


def measure(folder: Path, backbone: Path, count: int) -> dict[str, dict[str, float]]:
    root, store = folder / f"{count} images", folder / f"{count}.h5"
    make_images(root, range(count))
    features = ("features", root, "--backbone", backbone, "--out", store)
    runs = {}
    for name, words in {
        "first run": features,
        "second run": features,
        "10 images added": features,
        "verify": ("verify", store),
    }.items():
        if "added" in name:
            make_images(root, range(count, count + 10))
        megabytes, seconds = peak(folder, *words)
        runs[name] = {"MB": round(megabytes, 1), "seconds": round(seconds, 1)}
    return runs


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 100_000])
    asked = parser.parse_args()
    with page.recorded(asked):
        benchmark(asked)


def benchmark(asked: argparse.Namespace) -> None:
    few, many = asked.images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbone = folder / "small.onnx"
        script = [sys.executable, "-c", textwrap.dedent(BACKBONE), str(backbone)]
        subprocess.run(script, check=True)
        runs = {count: measure(folder, backbone, count) for count in (few, many)}
    page.sample("runs", *runs.items())
    table = Table("peak resident memory", *(f"{count:,} images, MB" for count in runs), "more, MB")
    for run in runs[few]:
        low, high = (runs[count][run]["MB"] for count in (few, many))
        table.add_row(run, f"{low:.0f}", f"{high:.0f}", f"{high - low:+.0f}")
    out.print(table)


if __name__ == "__main__":
    main()
