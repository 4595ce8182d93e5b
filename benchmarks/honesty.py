"""How often intervals cover the truth, and how often verdicts are wrong, in simulations.

Usage: python benchmarks/honesty.py [--simulations 500] [--only PART] [--cores 2]

Populations of known truth take the place of data: classifiers with 2, 5 and 10 classes, of equal
and of unequal size, with calibrated, over- and underconfident probabilities and accuracies of 70 to
99.5 %. Test splits of 50 to 400 images are drawn from each. Whole tables of equally good heads show
how often a verdict is false. Of few images, Gaussian classes and handwritten digits, every draw is
divided, and its heads are searched, chosen and scored, as ``train-heads`` does it. Several labels
have normal scores, higher where the label is present, and labels and scores of an image are alike.

It prints how long it will take, by the time of one simulation of each part.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import page
from headstart.core.parallel import available_cores
from headstart.core.records import FeatureSet
from headstart.evaluation import metrics
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.scoring import HeldOut, score_heads
from headstart.evaluation.compare.training import Trainer
from headstart.evaluation.metrics import multilabel
from headstart.evaluation.metrics.multilabel.jackknife import Precisions
from headstart.evaluation.metrics.multilabel.resampling import precision_intervals
from headstart.evaluation.metrics.multilabel.units import Units
from headstart.evaluation.splits import make_protocol
from scipy.special import ndtr, ndtri

POPULATION = 50_000
SIZES = (50, 100, 200, 400)
ACCURACIES = (0.7, 0.9, 0.97, 0.995)
PROBABILITIES = {"calibrated": 1.0, "overconfident": 2.5, "underconfident": 0.4}
PARTS = ("intervals", "groups", "verdicts", "small", "labels")
LABELS = {  # prevalences
    "5 of 2 to 60 %": np.geomspace(0.02, 0.6, 5),
    "20 of 2 to 50 %": np.geomspace(0.02, 0.5, 20),
    "10 of 10 %": np.full(10, 0.1),
    "10 of 3 %": np.full(10, 0.03),
}
LABEL_SIZES = (100, 200, 400, 800)
GAPS = (1.0, 2.0, 3.0)  # between images with and without a label, in standard deviations
FEW = (100, 200)
HEADS_OF_FEW = ("linear-svm", "kernel-ridge", "knn")  # the quick ones
SHARE = 10  # a simulation of few images fits models: one in this many is made
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


def spread_out(function, jobs, cores):
    """Return the results of jobs, in their order, from as many processes as cores."""
    if cores == 1:
        return [function(*job) for job in jobs]
    with ProcessPoolExecutor(cores) as pool:
        return list(pool.map(function, *zip(*jobs, strict=True)))


def coverages(k, name, accuracy, simulations):
    """Return `coverage` of a classifier, for each number of images."""
    drawn = population(k, accuracy, PROBABILITIES[name], name == "overconfident", seed=k)
    return [coverage(*drawn, n, simulations) for n in SIZES]


def intervals(simulations, cores=1):
    lowest, rows = dict.fromkeys(SCORES, 1.0), {}
    jobs = [
        (k, name, accuracy, simulations)
        for k in (2, 5, 10)
        for name in PROBABILITIES
        for accuracy in ACCURACIES
    ]
    for job, of_sizes in zip(jobs, spread_out(coverages, jobs, cores), strict=True):
        k, name, accuracy, _ = job
        for n, found in zip(SIZES, of_sizes, strict=True):
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


def show_groups(simulations, cores=1):
    print("| groups of 5 | " + " | ".join(f"true {a:.1%}" for a in ACCURACIES) + " |")
    print("|---|" + "--:|" * len(ACCURACIES))
    for groups in (20, 100):
        for agreement in (0.1, 0.6):
            jobs = [(groups, 5, accuracy, agreement, simulations) for accuracy in ACCURACIES]
            shares = spread_out(grouped, jobs, cores)
            page.sample(f"{groups} groups, correlation {agreement}", *shares)
            cells = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {groups}, correlation {agreement} | {cells} |")


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


def verdicts(simulations, cores=1):
    print("| heads | 100 images | 400 images |\n|--:|--:|--:|")
    for entries in (4, 12, 40):
        jobs = [(entries, n, alike, simulations) for n in (100, 400) for alike in (0.5, 0.9)]
        found = spread_out(false_verdicts, jobs, cores)
        shares = [max(found[:2]), max(found[2:])]
        page.sample(f"{entries} heads", *shares)
        print(f"| {entries} | {shares[0]:.1%} | {shares[1]:.1%} |")


def gaussians(images=21_000, k=5, d=24, spread=1.35):
    """Return features and codes of classes that are Gaussian around random centres."""
    rng = np.random.default_rng(0)
    centres, codes = rng.standard_normal((k, d)), rng.permutation(np.arange(images) % k)
    features = centres[codes] + spread * rng.standard_normal((images, d))
    return features.astype(np.float32), codes


def digits():
    """Return the pixels and codes of scikit-learn's 1,797 handwritten digits."""
    from sklearn.datasets import load_digits

    features, codes = load_digits(return_X_y=True)
    return features.astype(np.float32), codes


FEW_OF = {"Gaussian classes": gaussians, "digits": digits}


def draw(features, codes, images, seed):
    """Return images drawn at random, two of each class at least, and the rows of the others."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(codes))
        rows = np.sort(order[:images])
        if np.bincount(codes[rows], minlength=codes.max() + 1).min() >= 2:
            return feature_set(features[rows], codes[rows]), np.sort(order[images:])


def feature_set(features, codes):
    names = [f"{row}.jpg" for row in range(len(codes))]
    return FeatureSet(
        features=features,
        path=names,
        label=codes.astype(np.int32),
        split=[""] * len(codes),
        sha256=np.stack([np.frombuffer(hashlib.sha256(n.encode()).digest(), "u1") for n in names]),
        classes=tuple(map(str, range(codes.max() + 1))),
        extraction={},
        digest="",
        pixels=None,
        failures=[],
        name="simulated",
    )


def score_few(data, config):
    """Return the chosen entry and its score: divided, searched and scored as `compare` does."""
    protocol = make_protocol(data, config)
    trainer = Trainer.of(data, protocol, config, None, lambda name: None)
    best = trainer.search({"": data}).entries[0]
    return best, score_heads([best], HeldOut.of(data, protocol, config.seed))[0]


def simulate_few(name, images, held_out, seed):
    """Return error, width, coverage and the accuracy of a model of few images."""
    features, codes = FEW_OF[name]()
    data, others = draw(features, codes, images, seed)
    config = CompareConfig(heads=HEADS_OF_FEW, seed=seed, holdout=held_out, workers=1)
    best, score = score_few(data, config)
    true = float(np.mean(best.head.estimator.predict(features[others]) == codes[others]))
    low, high = score.test_accuracy_ci
    return abs(score.test_accuracy - true), high - low, low <= true <= high, true


def few(name, images, held_out, simulations, cores=1):
    """Return the means of `simulate_few`."""
    jobs = [(name, images, held_out, seed) for seed in range(simulations)]
    return np.mean(spread_out(simulate_few, jobs, cores), axis=0)


def small(simulations, cores=1):
    print("| images | of | scored | error | width of the interval | coverage | accuracy |")
    print("|--:|---|---|--:|--:|--:|--:|")
    for images in FEW:
        for name in FEW_OF:
            for held_out, how in ((True, "a fifth held out"), (False, "out of fold")):
                figures = few(name, images, held_out, max(10, simulations // SHARE), cores)
                page.sample(f"{images} {name}, {how}", *figures)
                cells = " | ".join(f"{100 * value:.1f}%" for value in figures)
                print(f"| {images} | {name} | {how} | {cells} |")


def true_precision(prevalence, gap):
    """Return the average precision of all images of a population, for each label."""
    cuts = np.linspace(-8, 8 + gap, 8001)[:, None]
    hits, alarms = prevalence * ndtr(gap - cuts), (1 - prevalence) * ndtr(-cuts)
    density = np.exp(-((cuts - gap) ** 2) / 2) / np.sqrt(2 * np.pi)
    return (density * hits / (hits + alarms)).sum(axis=0) * (cuts[1, 0] - cuts[0, 0])


def of_images(rng, prevalence, n, size, alike=0.3):
    """Return labels, two independent scores of each and the group of n images, ``size`` a group."""
    group = np.arange(n) // size

    def normal():
        own, common = (
            rng.standard_normal((n // size, len(prevalence))),
            rng.standard_normal(n // size),
        )
        return (np.sqrt(1 - alike) * own + np.sqrt(alike) * common[:, None])[group]

    labels = (normal() < ndtri(prevalence)).astype(np.int8)
    noise = normal(), normal()
    if size > 1:
        noise = [
            np.sqrt(0.6) * each + np.sqrt(0.4) * rng.standard_normal(each.shape) for each in noise
        ]
    return labels, noise, group


def of_labels(prevalence, gap, n, size, simulations, seed=0):
    """Return how often intervals of mean and labels cover, how wide they are, and false verdicts.

    Truth is the mean over the labels that the images have. The other head is as good, and half of
    the variance of its errors is that of the first.
    """
    rng, expected = np.random.default_rng(seed), true_precision(prevalence, gap)
    covered, widths, by_label, false = [], [], [], []
    for _ in range(simulations):
        labels, (first, second), group = of_images(rng, prevalence, n, size)
        if not labels.any():
            continue
        score, own = first + gap * labels, Units(labels, group)
        ends, mean = precision_intervals(Precisions.of(labels, score, own), own.positive, 1.0)
        here = np.isfinite(ends[:, 0])
        covered.append(mean[0] <= expected[here].mean() <= mean[1])
        widths.append(mean[1] - mean[0])
        by_label += ((ends[here, 0] <= expected[here]) & (expected[here] <= ends[here, 1])).tolist()
        other = np.sqrt(0.5) * (first + second) + gap * labels
        (compared,) = multilabel.compare_with(labels, score, [other], group)
        false.append(compared.decided)
    return [float(np.mean(each)) for each in (covered, widths, by_label, false)]


def labels(simulations, cores=1):
    print("| labels | images | intervals of the mean | width | of labels | false verdicts |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, prevalence in LABELS.items():
        for size in (1, 4):
            for n in LABEL_SIZES if size == 1 else LABEL_SIZES[1:3]:
                jobs = [(prevalence, gap, n, size, simulations) for gap in GAPS]
                found = np.array(spread_out(of_labels, jobs, cores))
                of_groups = f", groups of {size}" if size > 1 else ""
                page.sample(f"{name}{of_groups}, {n} images", *found.tolist())
                mean, low = found.mean(axis=0), found[:, 0].min()
                print(
                    f"| {name}{of_groups} | {n} | {mean[0]:.1%} ({low:.1%}) | {mean[1]:.3f} |"
                    f" {mean[2]:.1%} | {mean[3]:.1%} ({found[:, 3].max():.1%}) |"
                )


def seconds(function, *arguments):
    """Return how long a call takes once what it imports is there."""
    function(*arguments)
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def minutes(part, simulations, cores):
    """Estimate the minutes of a part, by the time of a few of its simulations."""
    if part == "intervals":
        drawn = population(5, 0.9, 1.0, False, seed=5)
        fewest, more = (seconds(coverage, *drawn, 200, number) for number in (5, 55))
        each = fewest + simulations * (more - fewest) / 50
        work = 36 * (seconds(population, 5, 0.9, 1.0, False, 5) + len(SIZES) * each)
    elif part == "groups":
        work = 16 * simulations * seconds(grouped, 100, 5, 0.9, 0.6, 20) / 20
    elif part == "verdicts":
        work = 4 * (4 + 12 + 40) / 40 * simulations * seconds(false_verdicts, 40, 400, 0.5, 3) / 3
    elif part == "labels":
        few, more = (
            (LABELS["20 of 2 to 50 %"], 2.0, 200, 4, 3),
            (LABELS["10 of 3 %"], 2.0, 200, 1, 20),
        )
        each = seconds(of_labels, *few) / 3 + 3 * seconds(of_labels, *more) / 20
        work = 24 * simulations * each
    else:
        draws = len(FEW) * len(FEW_OF) * max(10, simulations // SHARE)
        work = draws * sum(seconds(simulate_few, "digits", 200, held, 0) for held in (True, False))
    return work / cores / 60


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--cores", type=int, default=min(2, available_cores()))
    options = parser.parse_args()
    parts = {
        "intervals": intervals,
        "groups": show_groups,
        "verdicts": verdicts,
        "small": small,
        "labels": labels,
    }
    chosen = [name for name in PARTS if options.only in (None, name)]
    expected = [minutes(name, options.simulations, options.cores) for name in chosen]
    each = ", ".join(f"{name} {part:.1f}" for name, part in zip(chosen, expected, strict=True))
    print(f"About {sum(expected):.0f} minutes on {options.cores} cores: {each}", flush=True)
    for name in chosen:
        with page.recorded(options, name, markdown=True):
            parts[name](options.simulations, options.cores)


if __name__ == "__main__":
    main()
