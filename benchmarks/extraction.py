"""Embedding speed, end to end, against its bound and a torch DataLoader with eager inference.

Usage: python benchmarks/extraction.py DATA [--images 512] [--rounds 3] [--json FILE]

Both sides read the same image files and use the same network. The DataLoader runs with timm's own
transforms in each of its usual settings (workers 0 or 2, batch 1 or 32, channels_last or not);
a short trial of all of them picks its best two, which then alternate with Headstart. Building the
network is outside the clock on both sides (Headstart opens and checks it once more, and that time
is taken off); Headstart's time includes listing the images and writing the store.

The bound is what the cores could do if threads cost nothing: cores / (seconds to read, decode and
resize an image + seconds to infer it), each measured alone on one thread in the same round.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline import backbones, certificate, export, images, sources
from pipeline.distribute import available_cores
from pipeline.embed import EmbedConfig, embed
from pipeline.runner import Runner
from pipeline.torchvision_import import import_timm

TRIAL = 64  # images for the trial of the DataLoader's settings
out = Console()


def sample(data: str, count: int) -> list[Path]:
    listing = sources.open_source(data)
    step = max(1, len(listing.images) // count)
    return [listing.root / ref.path for ref in listing.images[::step]][:count]


def time_headstart(paths: list[Path], model: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "images.csv"
        with manifest.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label"])
            writer.writerows([path.resolve(), ""] for path in paths)
        started = time.perf_counter()
        runner = Runner(model)
        certificate.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
        opened = time.perf_counter()
        summary = embed(str(manifest), Path(folder) / "store.h5", EmbedConfig(str(model)))
        seconds = time.perf_counter() - opened - (opened - started)
        assert summary.embedded + summary.reused == len(paths), summary.failures
    return seconds


def bound(paths: list[Path], runner: Runner) -> float:
    """Images per second of all cores at the cost that each step has alone on one."""
    started = time.perf_counter()
    crops = [images.decode(images.read_file(p)[0], runner.backbone.preprocess) for p in paths]
    decoded = time.perf_counter()
    for crop in crops:
        runner.embed(crop[np.newaxis])
    return available_cores() * len(paths) / (time.perf_counter() - decoded + decoded - started)


def time_dataloader(paths: list[Path], module, transform, workers: int, batch: int, last: bool):
    import torch
    from PIL import Image

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int):
            with Image.open(paths[index]) as image:
                return transform(image.convert("RGB"))

    layout = torch.channels_last if last else torch.contiguous_format
    module = module.to(memory_format=layout)
    started = time.perf_counter()
    features = []
    with torch.inference_mode():
        for photos in torch.utils.data.DataLoader(Photos(), batch_size=batch, num_workers=workers):
            features.append(module(photos.to(memory_format=layout)).numpy())
    assert np.concatenate(features).shape[0] == len(paths)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    timm = import_timm()
    module, _ = backbones.find(backbones.DEFAULT).load()
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=module.pretrained_cfg)
    )
    paths = sample(options.data, options.images)
    settings = list(itertools.product((0, 2), (1, 32), (False, True)))
    trial = {s: TRIAL / time_dataloader(paths[:TRIAL], module, transform, *s) for s in settings}
    best = sorted(trial, key=trial.get, reverse=True)[:2]

    model, _ = export.model_file(backbones.DEFAULT)
    runner = Runner(model)
    bounds: list[float] = []
    speeds: dict[str, list[float]] = {"headstart": []} | {name(s): [] for s in best}
    for _ in range(options.rounds):
        bounds.append(bound(paths, runner))
        speeds["headstart"].append(len(paths) / time_headstart(paths, model))
        for s in best:
            seconds = time_dataloader(paths, module, transform, *s)
            speeds[name(s)].append(len(paths) / seconds)

    ratios = [ours / max(others) for ours, *others in zip(*speeds.values(), strict=True)]
    shares = [ours / limit for ours, limit in zip(speeds["headstart"], bounds, strict=True)]
    table = Table("pipeline", "images/s (median)", "min", "max", title=f"{len(paths)} images")
    for label, values in ({"the bound": bounds} | speeds).items():
        table.add_row(label, *(f"{f(values):.1f}" for f in (statistics.median, min, max)))
    out.print(table)
    out.print("trial:", {name(s): round(v, 1) for s, v in trial.items()})
    out.print(
        f"headstart / best DataLoader, paired by round: median {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f})"
    )
    out.print(
        f"headstart / the bound, paired by round: median {statistics.median(shares):.3f} "
        f"(min {min(shares):.3f}, max {max(shares):.3f})"
    )
    if options.json:
        machine = {"platform": platform.platform(), "cpus": os.cpu_count()}
        document = {
            "machine": machine,
            "images": len(paths),
            "bound": bounds,
            "speeds": speeds,
            "ratio_to_dataloader": ratios,
            "share_of_bound": shares,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def name(setting: tuple[int, int, bool]) -> str:
    workers, batch, last = setting
    return f"DataLoader workers={workers} batch={batch}{' channels_last' if last else ''}"


if __name__ == "__main__":
    main()
