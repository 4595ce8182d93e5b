"""Label errors: how many flipped labels are suspected, and how many suspects were flipped.

Usage: python benchmarks/label_errors.py STORE [--seeds 3] [--rate 0.05] [--images N] [--heads A,B]

Labels of training images are changed, either to any other class or, harder, to the class that they
are confused with most; then the suspects of ``headstart train-heads`` are compared with what was
changed. The original labels count as right, so errors that they already have count against the
method. ``bound`` shows how much that is: the ranking by models that never saw a changed label.
``one pass`` leaves out the second round without the first one's suspects, ``margin`` ranks by
cleanlab's other score, and with --heads so do the out-of-fold probabilities of other heads. For
each tier, the share of changed labels stands beside the share that headstart expects.
``--images 800`` draws that many, which takes a minute a seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

import numpy as np
import page
from headstart.core.parallel import available_cores
from headstart.evaluation import label_errors
from headstart.evaluation.compare import CompareConfig
from headstart.evaluation.compare.insights import find_label_errors
from headstart.evaluation.splits import make_protocol
from headstart.features import store
from headstart.heads import by_name
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet


def average_precision(bad, score) -> float:
    """Return the mean, over what is bad, of the precision down to its place in the ranking."""
    hits = bad[np.argsort(score, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def flip(labels, rate, seed, confused=None):
    """Return changed labels, and which were changed."""
    rng = np.random.default_rng(seed)
    codes = np.unique(labels)
    rows = rng.choice(len(labels), round(rate * len(labels)), replace=False)
    changed = labels.copy()
    if confused is None:
        place = np.searchsorted(codes, labels[rows])
        changed[rows] = codes[(place + rng.integers(1, len(codes), len(rows))) % len(codes)]
    else:
        changed[rows] = confused[labels[rows]]
    return changed, changed != labels


def most_confused(labels, probabilities):
    """Return, for each class, the other one that its images are most often taken for."""
    k = probabilities.shape[1]
    counts = np.zeros((k, k))
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    np.fill_diagonal(counts, -1)
    return counts.argmax(axis=1)


def judge(training, protocol, head):
    """Run what a comparison runs, given the fitted logistic regression."""

    class Fitted:  # what `find_label_errors` reads of an entry
        pass

    entry = Fitted()
    entry.head = head
    return find_label_errors(training, protocol, [entry]).errors


def report(name, bad, score, suspects=None):
    count = int(bad.sum())
    top = bad[np.argsort(score, kind="stable")[:count]].mean()
    figures = {"average precision": average_precision(bad, score), "precision at rate": top}
    if suspects is not None:
        figures |= {
            "suspects": len(suspects),
            "precision": bad[suspects].mean(),
            "recall": bad[suspects].sum() / count,
        }
    told = ", ".join(f"{k} {v:.3f}" if v <= 1 else f"{k} {v}" for k, v in figures.items())
    print(f"  {name:14s} {told}", flush=True)
    return figures


def report_tiers(bad, errors):
    """Print, for each tier, how many labels it has, how many were changed and are expected to."""
    tiers: dict[str, list[int]] = {}
    for row in errors.suspects:
        tiers.setdefault(errors.tier(row), []).append(row)
    for tier, rows in tiers.items():
        share, expected = bad[rows].mean(), errors.chance[rows].mean()
        print(f"  {tier:14s} {len(rows)} labels, {share:.2f} changed, {expected:.2f} expected")


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--heads", default="")
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    data = store.read(options.store)
    protocol = make_protocol(data, CompareConfig())
    rows = protocol.train
    if options.images:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[: options.images])
    labels = data.label[rows].astype(np.int64)
    fold = divisions(labels, 5, 0)
    clean = TrainingSet(data.features[rows], labels, fold, workers=available_cores())
    family = LogisticRegressionHead()
    reference = family.search(clean)
    found = judge(clean, protocol, reference)
    print(f"labels as given: {len(found.suspects)} suspects of {len(labels):,}")
    confused = most_confused(labels, reference.out_of_fold)
    rows = np.arange(len(labels))
    for kind, target in (("to any class", None), ("to the class most confused", confused)):
        results: dict[str, list[dict[str, float]]] = {}
        for seed in range(options.seeds):
            changed, bad = flip(labels, options.rate, seed, target)
            print(f"{bad.sum()} labels flipped {kind}, seed {seed}")
            training = dataclasses.replace(clean, labels=changed)
            training.__dict__["row_space"] = clean.row_space
            head = family.search(training)
            found = judge(training, protocol, head)
            single = label_errors.find(changed, head.out_of_fold)
            best_other = head.out_of_fold[rows, single.suggested]
            scores = {
                "headstart": (found.quality, found.suspects),
                "one pass": (single.quality, single.suspects),
                "margin": (head.out_of_fold[rows, changed] - best_other, None),
                "bound": (reference.out_of_fold[rows, changed], None),
            }
            for other in by_name(filter(None, options.heads.split(","))) if options.heads else []:
                fitted = other.search(training)
                scores[other.name] = (fitted.out_of_fold[rows, changed], None)
            for name, (score, suspects) in scores.items():
                results.setdefault(name, []).append(report(name, bad, score, suspects))
                page.sample(f"flipped {kind}, {name}", results[name][-1])
            report_tiers(bad, found)
        print(f"means over {options.seeds} seeds, flipped {kind}")
        for name, figures in results.items():
            means = {key: statistics.mean(f[key] for f in figures) for key in figures[0]}
            print("  " + name.ljust(14), {key: round(float(v), 3) for key, v in means.items()})


if __name__ == "__main__":
    main()
