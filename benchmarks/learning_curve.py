"""How often the learning curve's interval for twice as many images covers the truth.

Usage: python benchmarks/learning_curve.py STORE... [--draws 20] [--head NAME]

The training images of each store are a population: a random half of them, stratified, gets the
curve of ``headstart train-heads``, with the head's parameters as its own cross-validation chose
them, and its forecast for twice the images is set against the cross-validated accuracy on all of
them with these parameters. Small stores and hard ones are made by taking some of the classes and a
share of the images. The truth is cross-validated on finitely many images too; that adds to the
misses, so the coverage is, if anything, higher than it says.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import page
from headstart.core.parallel import available_cores
from headstart.evaluation import learning_curve
from headstart.features import store
from headstart.heads import HEADS
from headstart.heads.folds import stratified_folds
from headstart.heads.training_set import TrainingSet

FOLDS = 5
CLASSES = (1.0, 0.5, 0.3)  # shares of the classes, at least two
IMAGES = (1.0, 0.5, 0.25)  # shares of the images


def part(labels, share, rng):
    """Return rows that hold this share of every class, at least four of each."""
    rows = []
    for code in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == code))
        rows.append(own[: max(4, round(share * len(own)))])
    return np.sort(np.concatenate(rows))


def training_set(features, labels, seed):
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    smallest = int(np.bincount(codes).min())
    fold = stratified_folds(codes, min(FOLDS, smallest), seed)
    return TrainingSet(features, codes, fold, workers=available_cores())


def forecast(data, head, seed):
    """Return what the curve says of twice the images, and the chosen parameters."""
    family = HEADS[head]
    found = family.search(data)

    def answers(parts):
        return [a.argmax(axis=1) for a in family.answers(found.params, data.divided(parts))]

    draws = learning_curve.draw(data.labels, data.fold, seed)
    curve = learning_curve.measure(draws, data.labels, answers)
    return learning_curve.describe(curve, len(data.labels), seed), found.params


def trial(features, labels, classes, images, head, seed):
    """Draw a population, forecast from half of it and look."""
    rng = np.random.default_rng(seed)
    known = np.unique(labels)
    chosen = rng.choice(known, max(2, round(classes * len(known))), replace=False)
    rows = np.flatnonzero(np.isin(labels, chosen))
    rows = rows[part(labels[rows], images, rng)]
    half = rows[part(labels[rows], 0.5, rng)]
    described, params = forecast(training_set(features[half], labels[half], seed), head, seed)
    doubling = described.doubling
    if doubling is None:
        return None
    everything = training_set(features[rows], labels[rows], seed)
    scores = HEADS[head].answers(params, everything)
    right = np.concatenate(
        [
            a.argmax(axis=1) == everything.labels[held_out]
            for a, (_, held_out) in zip(scores, everything.folds, strict=True)
        ]
    )
    low, high = doubling.accuracy_ci
    truth = float(right.mean())
    now = described.points[-1].accuracy
    return {
        "half": len(half),
        "classes": len(chosen),
        "now": now,
        "forecast": doubling.accuracy,
        "low": low,
        "high": high,
        "truth": truth,
        "covered": low <= truth <= high,
        "gain": doubling.gain,
        "gain_covered": doubling.gain_ci[0] <= truth - now <= doubling.gain_ci[1],
    }


def show(name, trials):
    def mean(key):
        return statistics.mean(float(t[key]) for t in trials)

    above = statistics.mean(t["truth"] > t["high"] for t in trials)
    below = statistics.mean(t["truth"] < t["low"] for t in trials)
    width = statistics.mean(t["high"] - t["low"] for t in trials)
    error = statistics.mean(abs(t["forecast"] - t["truth"]) for t in trials)
    same = statistics.mean(abs(t["now"] - t["truth"]) for t in trials)
    print(
        f"{name:44s} {len(trials):4d} trials, covered {mean('covered'):6.1%} (truth above"
        f" {above:.1%}, below {below:.1%}), width {width:.3f}, error {error:.4f} (of no change"
        f" {same:.4f}), bias {mean('forecast') - mean('truth'):+.4f}, gain covered"
        f" {mean('gain_covered'):.1%}",
        flush=True,
    )


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--head", default="logistic-regression")
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    everything = []
    for path in options.stores:
        data = store.read(path)
        rows = np.flatnonzero([s != "test" for s in data.split] & (data.label >= 0))
        features, labels = data.features[rows], data.label[rows].astype(np.int64)
        for classes in CLASSES:
            for images in IMAGES:
                found = [
                    trial(features, labels, classes, images, options.head, seed)
                    for seed in range(options.draws)
                ]
                trials = [t for t in found if t is not None]
                everything += [t | {"store": path.name} for t in trials]
                if trials:
                    show(f"{path.name}, {classes:.0%} classes, {images:.0%} images", trials)
    show("all", everything)
    page.sample("trials", *everything)


if __name__ == "__main__":
    main()
