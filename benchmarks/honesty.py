"""How often intervals cover the truth, and how often verdicts are wrong, in simulations.

Usage: python benchmarks/honesty.py [--simulations 500] [--only PART]

Populations of known truth take the place of data: classifiers with 2, 5 and 10 classes, of equal
and of unequal size, with calibrated, over- and underconfident probabilities and accuracies of 70 to
99.5 %. Test splits of 50 to 400 images are drawn from each. Whole tables of equally good heads show
how often a verdict is false. Of few images, a model is fitted on each draw and scored out of fold
or on a hold-out.
"""

from __future__ import annotations

import numpy as np
import page
from headstart.evaluation import metrics
from headstart.evaluation.splits import Rules
from headstart.heads.folds import divisions, stratified_folds
from headstart.heads.kernel_ridge import KernelRidgeHead
from headstart.heads.training_set import TrainingSet

POPULATION = 50_000
SIZES = (50, 100, 200, 400)
ACCURACIES = (0.7, 0.9, 0.97, 0.995)
PROBABILITIES = {"calibrated": 1.0, "overconfident": 2.5, "underconfident": 0.4}
PARTS = ("intervals", "groups", "verdicts", "small")
FEW = (100, 200, 500)
SHARE = 5  # a simulation of few images fits models: one in this many is made
SCORES = (
    "accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc", "calibration_error",
)  # fmt: skip


def population(k, accuracy, sharpness, unequal, seed, size=POPULATION):
    """Return true codes and probabilities of a classifier that is right this often.

    Scores are normal around 0, higher for the true class; ``sharpness`` 1 makes the probabilities
    those that the scores imply. ``unequal`` makes each class 0.7 times as large as the one before.
    """
    rng = np.random.default_rng(seed)
    prior = 0.7 ** np.arange(k) if unequal else np.ones(k)
    prior /= prior.sum()
    true = rng.choice(k, size, p=prior)
    noise = rng.standard_normal((size, k))

    def logits(gap):
        shifted = noise.copy()
        shifted[np.arange(size), true] += gap
        return gap * shifted + np.log(prior)

    low, high = 0.01, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        right = np.mean(logits(middle).argmax(axis=1) == true)
        low, high = (middle, high) if right < accuracy else (low, middle)
    values = sharpness * logits(high)
    weights = np.exp(values - values.max(axis=1, keepdims=True))
    return true, weights / weights.sum(axis=1, keepdims=True)


def truth(true, probabilities):
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    scores = metrics.class_scores(true, predicted, probabilities.shape[1])
    return {
        "accuracy": np.mean(predicted == true),
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "log_loss": metrics.log_loss(true, probabilities),
        "roc_auc": metrics.roc_auc(true, probabilities)[0],
        "calibration_error": metrics.expected_calibration_error(predicted == true, confidence),
    }


def coverage(true, probabilities, n, simulations, seed=0):
    """Return the share of test splits of n images whose interval covers the truth, by score."""
    expected = truth(true, probabilities)
    rng = np.random.default_rng(seed)
    hits = {name: [] for name in SCORES}
    for simulation in range(simulations):
        rows = rng.integers(len(true), size=n)
        found = metrics.score_intervals(true[rows], probabilities[rows], simulation)
        for name, interval in found.items():
            if interval is not None:
                hits[name].append(interval[0] <= expected[name] <= interval[1])
    return {name: float(np.mean(each)) for name, each in hits.items()}


def intervals(simulations):
    lowest, rows = dict.fromkeys(SCORES, 1.0), {}
    for k in (2, 5, 10):
        for name, sharpness in PROBABILITIES.items():
            for accuracy in ACCURACIES:
                unequal = name == "overconfident"
                drawn = population(k, accuracy, sharpness, unequal, seed=k)
                for n in SIZES:
                    found = coverage(*drawn, n, simulations)
                    for score, share in found.items():
                        lowest[score] = min(lowest[score], share)
                        rows.setdefault((score, accuracy, n), []).append(share)
                    page.sample(f"{k} classes, {name}, {accuracy}, {n} images", found)
    print("| score | true accuracy |" + "".join(f" {n} images |" for n in SIZES))
    print("|---|--:|" + "--:|" * len(SIZES))
    for score in SCORES:
        for accuracy in ACCURACIES:
            cells = (rows[score, accuracy, n] for n in SIZES)
            texts = (f" {np.mean(c):.1%} ({min(c):.0%}–{max(c):.0%}) |" for c in cells)
            print(f"| {score.replace('_', ' ')} | {accuracy:.1%} |" + "".join(texts))
    print(
        "\nLowest of all: " + ", ".join(f"{s.replace('_', ' ')} {v:.1%}" for s, v in lowest.items())
    )


def grouped(groups, size, accuracy, agreement, simulations, seed=0):
    """Return the coverage of an accuracy whose images come in groups that are alike."""
    rng = np.random.default_rng(seed)
    codes, hits = np.repeat(np.arange(groups), size), 0
    for _ in range(simulations):
        shared = rng.beta(
            accuracy * (1 / agreement - 1), (1 - accuracy) * (1 / agreement - 1), groups
        )
        low, high = metrics.accuracy_interval(rng.random(len(codes)) < shared[codes], codes)
        hits += low <= accuracy <= high
    return hits / simulations


def show_groups(simulations):
    print("| groups of 5 | " + " | ".join(f"true {a:.1%}" for a in ACCURACIES) + " |")
    print("|---|" + "--:|" * len(ACCURACIES))
    for groups in (20, 100):
        for agreement in (0.1, 0.6):
            shares = [grouped(groups, 5, a, agreement, simulations) for a in ACCURACIES]
            page.sample(f"{groups} groups, correlation {agreement}", *shares)
            print(
                f"| {groups}, correlation {agreement} | "
                + " | ".join(f"{s:.1%}" for s in shares)
                + " |"
            )


def false_verdicts(entries, n, alike, simulations, seed=0):
    """Return how many tables of equally good heads have a false verdict of worse."""
    rng = np.random.default_rng(seed)
    false = 0
    for _ in range(simulations):
        hard = rng.standard_normal(n) * np.sqrt(alike)
        own = rng.standard_normal((entries, n)) * np.sqrt(1 - alike)
        right = hard + own < 1.28  # 90 %
        compared = metrics.compare_with(right[0], list(right[1:]))
        false += any(each.decided and each.difference < 0 for each in compared)
    return false / simulations


def verdicts(simulations):
    print("| heads | 100 images | 400 images |\n|--:|--:|--:|")
    for entries in (4, 12, 40):
        shares = [
            max(false_verdicts(entries, n, alike, simulations) for alike in (0.5, 0.9))
            for n in (100, 400)
        ]
        page.sample(f"{entries} heads", *shares)
        print(f"| {entries} | {shares[0]:.1%} | {shares[1]:.1%} |")


def draw(images, seed, k=5, d=24, spread=1.35):
    """Return features and codes of classes that are Gaussian around random centres."""
    centres = np.random.default_rng(0).standard_normal((k, d))
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(images) % k)
    features = centres[codes] + spread * rng.standard_normal((images, d))
    return features.astype(np.float32), codes.astype(np.int64)


def score_few(features, codes, seed, held_out):
    """Fit a head; return correct answers to score it by, and the head.

    Answers are out of fold, with the product's repeats, or of a fifth that is ``held_out``.
    """
    family = KernelRidgeHead()
    if held_out:
        part = stratified_folds(codes, 5, seed) == 0
        fold = divisions(codes[~part], 5, seed, Rules().repeats_for(int((~part).sum())))
        head = family.search(TrainingSet(features[~part], codes[~part], fold))
        return head.estimator.predict(features[part]) == codes[part], head
    repeats = Rules().repeats_for(len(codes), out_of_fold=True)
    head = family.search(TrainingSet(features, codes, divisions(codes, 5, seed, repeats)))
    return head.out_of_fold.argmax(axis=1) == codes, head


def few(images, held_out, simulations):
    """Return mean error, width, coverage and accuracy of models of few images."""
    everyone, truths = draw(20_000, seed=10**6)
    rows = []
    for seed in range(simulations):
        features, codes = draw(images, seed)
        correct, head = score_few(features, codes, seed, held_out)
        true = np.mean(head.estimator.predict(everyone) == truths)
        low, high = metrics.accuracy_interval(correct, np.arange(len(correct)))
        rows.append((abs(correct.mean() - true), high - low, low <= true <= high, true))
    return np.mean(rows, axis=0)


def small(simulations):
    print("| images | scored | error | width of the interval | coverage | accuracy of the model |")
    print("|--:|---|--:|--:|--:|--:|")
    for images in FEW:
        for held_out, name in ((True, "a fifth held out"), (False, "out of fold")):
            figures = few(images, held_out, max(10, simulations // SHARE))
            cells = " | ".join(f"{100 * value:.1f}%" for value in figures)
            print(f"| {images} | {name} | {cells} |")


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    parts = {"intervals": intervals, "groups": show_groups, "verdicts": verdicts, "small": small}
    for name, part in parts.items():
        if options.only in (None, name):
            with page.recorded(options, name, markdown=True):
                part(options.simulations)


if __name__ == "__main__":
    main()
