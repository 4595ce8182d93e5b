"""Whether thresholds of confidence and conformal sets keep their promises on other images.

Usage: python benchmarks/operating.py STORE [--divisions 200]

STORE holds the features of labelled images, one of each group of duplicates is used. Each image is
answered by a head that was not fitted on it (five folds). Random halves of the answers choose
thresholds and sets, and the other halves test them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import page
from drift import HEADS, unrelated
from headstart.evaluation import conformal, operating_points
from headstart.evaluation.operating_points import Ranked
from headstart.features import store
from headstart.heads import by_name
from headstart.heads.folds import divisions
from headstart.heads.training_set import TrainingSet

TARGETS = (0.9, 0.95, 0.98, 0.99)


def halves(images: int, divisions_: int):
    """Yield random halves of the images."""
    for draw in range(divisions_):
        order = np.random.default_rng(draw).permutation(images)
        yield order[: images // 2], order[images // 2 :]


def thresholds(answers, codes, options) -> None:
    """How often a threshold keeps its promise on the other half."""
    print(
        f"{options.divisions} random halves of {len(codes):,} images. A promise is kept within the"
    )
    print("interval if the target is not above the interval of the accuracy on the other half.\n")
    columns = ("not reached", "answered", "accuracy", "at least the target", "within the interval")
    print("| head | target | " + " | ".join(columns) + " |\n|---|--:|" + "--:|" * len(columns))
    for head, probabilities in answers.items():
        for target in TARGETS:
            rows = []
            for one, other in halves(len(codes), options.divisions):
                point = operating_points.choose(Ranked.of(codes[one], probabilities[one]), target)
                tested = Ranked.of(codes[other], probabilities[other]).beyond(point.threshold)
                if point.reached and tested["accuracy"] is not None:
                    high = tested["accuracy_ci"][1]
                    kept = tested["accuracy"] >= target, high >= target
                    rows.append((tested["share"], tested["accuracy"], *kept))
            page.sample(f"{head}, {target}", *np.round(rows, 4).tolist())
            means = np.mean(rows, axis=0) if rows else [np.nan] * 4
            missed = 1 - len(rows) / options.divisions
            cells = " | ".join(f"{value:.1%}" for value in (missed, *means))
            print(f"| {head} | {target:.0%} | {cells} |", flush=True)


def sets(answers, codes, options) -> None:
    """How often sets of classes hold the true one on the other half."""
    print(f"{options.divisions} random halves of {len(codes):,} images; 95 % are promised.\n")
    columns = ("mean coverage", "lowest coverage", "95 % within the interval", "classes in a set")
    print("| head | sets | " + " | ".join(columns) + " |\n|---|---|" + "--:|" * len(columns))
    k = int(codes.max()) + 1
    for head, probabilities in answers.items():
        measured = defaultdict(list)
        for one, other in halves(len(codes), options.divisions):
            rule = conformal.calibrate(codes[one], probabilities[one], k)
            for each in conformal.measure(rule, codes[other], probabilities[other]):
                low, high = each.coverage_ci
                inside = low <= conformal.LEVEL <= high
                measured[each.kind].append((each.coverage, inside, each.mean_size))
        for kind, rows in measured.items():
            page.sample(f"{head}, {kind}", *np.round(rows, 4).tolist())
            coverage, inside, size = np.array(rows).T
            cells = f"{coverage.mean():.1%} | {coverage.min():.1%} | {inside.mean():.1%}"
            print(f"| {head} | {kind} | {cells} | {size.mean():.2f} |", flush=True)


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--divisions", type=int, default=200)
    options = parser.parse_args()
    data = store.read_layers(options.store, [], 2**30)[0]
    rows = unrelated(data)
    features, codes = np.asarray(data.features[rows], np.float32), data.label[rows].astype(int)
    alone = np.arange(len(rows))
    training = TrainingSet(features, codes, divisions(codes, 5, 0, 1, alone), 0, 1)
    answers = {
        head: by_name([head])[0].search_further(training).out_of_fold
        for head in (HEADS[0], HEADS[2])
    }
    for name, part in {"thresholds": thresholds, "sets": sets}.items():
        with page.recorded(options, name, markdown=True):
            part(answers, codes, options)


if __name__ == "__main__":
    main()
