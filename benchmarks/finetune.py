"""Epochs of `top` mode on cached activations against the ordinary loop, alternated.

    python benchmarks/finetune.py FOLDER [--images 128] [--rounds 3]

The ordinary loop reads, decodes and augments every image again and runs the frozen part in torch;
the top, its arithmetic and the batches are the same. The bound is the top's forward and backward
pass alone, on a batch in memory. Prints medians of rounds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import page
import torch
from headstart import backbones, datasets
from headstart.backbones import export
from headstart.core.records import Choice
from headstart.finetune import activations, boundary, views
from headstart.finetune.batches import LabelledPhotos, PhotoBatches, StoredBatches
from headstart.finetune.depthwise import QuickDepthwise
from headstart.finetune.model import Classifier, Pixels
from headstart.finetune.photos import Photo

BATCH, VIEWS, CLASSES = 32, 2, 10


def epoch(model, batches) -> float:
    started = time.perf_counter()
    for inputs, classes in batches:
        narrow = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        with torch.autocast("cpu", torch.bfloat16, narrow), QuickDepthwise():
            loss = torch.nn.functional.cross_entropy(model(inputs), classes)
        loss.backward()
        model.zero_grad(set_to_none=True)
    return time.perf_counter() - started


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options.folder, options.images, options.rounds)


def benchmark(folder: str, images: int, rounds: int) -> None:
    listing = datasets.open_source(folder)
    photos = [
        Photo(listing, ref, hashlib.sha256(datasets.read(listing, ref)[0]).digest(), VIEWS)
        for ref in listing.images[:images]
    ]
    choice = Choice(backbones.DEFAULT)
    candidate = backbones.find(choice)
    layer, top, network = boundary.divide(candidate.build)
    built = candidate.build()
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    for name, parameter in built.module.named_parameters():
        parameter.requires_grad_(name in trained)
    start = np.zeros((CLASSES, 1280), np.float32), np.zeros(CLASSES, np.float32)
    cached = Classifier(top, *start).eval()
    ordinary = Classifier(Pixels(built.headless(), built.mean, built.std), *start).eval()
    classes = np.arange(len(photos)) % CLASSES
    parts = LabelledPhotos(photos, classes), LabelledPhotos(photos[:1], classes[:1])
    model = export.model_file(dataclasses.replace(choice, layer=layer.name, pool="flatten"))[0]
    with tempfile.TemporaryDirectory() as place:
        filling = time.perf_counter()
        store = activations.fill(Path(place) / "a.h5", model, photos)
        filling = time.perf_counter() - filling
        stored = StoredBatches(*parts, 0, store)
        read = PhotoBatches(*parts, 0, None, views.Augment(built.preprocess, 0))
        one = next(stored.train(1, BATCH))
        times: dict[str, list[float]] = {"cached": [], "ordinary": [], "bound": []}
        for number in range(rounds + 1):
            found = {
                "cached": epoch(cached, stored.train(number + 1, BATCH)),
                "ordinary": epoch(ordinary, read.train(number + 1, BATCH)),
                "bound": epoch(cached, [one] * stored.steps(BATCH)),
            }
            for name, seconds in found.items() if number else ():  # the first one warms up
                times[name].append(seconds)
    for name, all_seconds in times.items():
        each = statistics.median(all_seconds) / len(photos) * 1e3
        print(f"{name:9} {each:6.2f} ms an image")
    for name, values in times.items():
        page.sample(f"{name}, seconds an epoch", *values)
    ratios = [b / a for a, b in zip(times["cached"], times["ordinary"], strict=True)]
    page.ratio("ordinary / cached", ratios)
    print(
        f"ordinary / cached {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    )
    page.sample("seconds to fill the store", filling)
    print(f"filling the store {filling / len(photos) / VIEWS * 1e3:.2f} ms a view")


if __name__ == "__main__":
    main()
