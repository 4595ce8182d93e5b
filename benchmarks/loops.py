"""Accuracy of `top` mode trained on cached activations, and by the ordinary loop, seed by seed.

    python benchmarks/loops.py DATA [--images 800] [--seeds 0 1 2] [--store FILE]

Both start from the same logistic regression, with the same recipe, validation and test images. The
ordinary loop draws a new view of every image in every epoch and runs the frozen part in torch; the
cached one has 8 views. Prints the accuracy on the test images, the mean difference with its
standard error over the seeds, and the seconds of an epoch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import page
import torch
from advice import subset
from headstart import backbones
from headstart.core.records import Choice
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed
from headstart.finetune import FinetuneConfig, preparation
from headstart.finetune.batches import LabelledPhotos, PhotoBatches
from headstart.finetune.division import divide
from headstart.finetune.job import FinetuneJob
from headstart.finetune.model import Classifier, Pixels
from headstart.finetune.training import Trainer, TrainingSetup
from headstart.finetune.views import Augment


def photo_batches(job, augment, training, validation):
    """Return batches of the images themselves: some rows train, others validate."""
    rows = (training, validation)
    parts = [
        LabelledPhotos(photos, job.targets(part))
        for photos, part in zip(job.photos(*((part, 1) for part in rows)), rows, strict=True)
    ]
    return PhotoBatches(*parts, job.config.seed, job.config.workers, augment)


def ordinary(candidate, prepared, start):
    """Return the whole network as a classifier of pixels, of which only the top learns."""
    built = candidate.build()
    learns = {name for name, p in prepared.network.named_parameters() if p.requires_grad}
    for name, parameter in built.module.named_parameters():
        parameter.requires_grad_(name in learns)
    base = Pixels(built.headless(), built.mean, built.std)
    return Classifier(base, *start), built.preprocess


def train(model, batches, job, folder):
    """Train, and return the mean seconds of an epoch."""
    setup = TrainingSetup(job.config, folder / "checkpoint", "loop", job.objective(), True)
    history = Trainer(model, batches, setup).run().history
    return statistics.mean(epoch["seconds"] for epoch in history[1:])


def accuracy(model, batches, size):
    """Return the share of validation images that are classified right."""
    model.eval()
    with torch.inference_mode():
        right = [model(x).argmax(1) == classes for x, classes in batches.validation(size)]
    return float(torch.cat(right).float().mean())


def compare(data, frozen, choice, seed, folder):
    job = FinetuneJob.create(data, frozen, choice, FinetuneConfig(seed=seed))
    config, division = job.config, job.division
    candidate = preparation.trainable(choice)
    start = job.start()
    made = preparation.prepare(job, start, folder, lambda *_: None)
    whole, preprocess = ordinary(candidate, made, start)
    augment = Augment(preprocess, config.seed)
    read = photo_batches(job, augment, division.train, division.validation)
    test = photo_batches(job, augment, division.train[:1], division.test)
    found = {"frozen": (accuracy(whole, test, config.batch), 0.0)}
    for name, model, batches in (("cached", made.model, made.batches), ("ordinary", whole, read)):
        place = folder / name
        place.mkdir()
        seconds = train(model, batches, job, place)
        if name == "cached":  # scored as the other one: on pixels, by the whole network
            full = candidate.build()
            full.module.load_state_dict(made.network.state_dict(), strict=False)
            model = Classifier(
                Pixels(full.headless(), full.mean, full.std),
                made.model.head.weight.detach().numpy(),
                made.model.head.bias.detach().numpy(),
            )
        found[name] = accuracy(model, test, config.batch), seconds
    return found


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--store", type=Path, help="a feature store of DATA, if there is one")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    choice = Choice(backbones.DEFAULT)
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if options.store is None:
            embed(options.data, out / "frozen.h5", EmbedConfig(choice))
        frozen = store.read(options.store or out / "frozen.h5")
        for seed in options.seeds:
            part = subset(frozen, divide(frozen, 0), options.images, seed)
            place = out / str(seed)
            place.mkdir()
            found = compare(options.data, part, choice, seed, place)
            page.sample("accuracy and seconds", {"seed": seed, **found})
            words = (f"{name} {right:.4f} ({took:.0f} s)" for name, (right, took) in found.items())
            print(f"seed {seed}:", ", ".join(words), flush=True)
            differences.append(found["cached"][0] - found["ordinary"][0])
    spread = statistics.stdev(differences) / len(differences) ** 0.5 if differences[1:] else 0.0
    print(f"cached - ordinary: {statistics.mean(differences):+.4f} (standard error {spread:.4f})")


if __name__ == "__main__":
    main()
