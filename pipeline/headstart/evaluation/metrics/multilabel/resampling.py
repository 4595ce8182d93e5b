"""Intervals and comparisons by resampling the test images, or their groups.

The bootstrap's variance (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993) covers how
labels of an image depend on each other. Its quantiles are not used: average precision is biased in
samples with repeated images, and few positives have few quantiles. Each score gets Wilson's
interval for as many images as its variance is worth, as the scores of one class have; see
docs/decisions/0207 for the measured coverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.proportions import wilson
from headstart.evaluation.metrics.design import LEVEL, Groups
from headstart.evaluation.metrics.intervals import accuracy_interval
from headstart.evaluation.metrics.multilabel.scores import (
    Floats,
    Labels,
    Probabilities,
    calibration,
    count,
    few_positives,
    per_label,
    ratio,
    scores,
)
from headstart.evaluation.metrics.paired import POWER, PairedComparison, holm

DRAWS = 2000
LEAST_DRAWS = 400
CELLS = 40_000_000  # images times draws
BATCH = 2_000_000  # of them in memory at once
CHANCE = 0.25  # of an image: the weight of a proportion's variance where scores hardly vary

Ends = tuple[float, float]
Weights = NDArray[np.float32]  # of images, (n, draws)


class Intervals(NamedTuple):
    """95 % intervals.

    Attributes:
        scores: of each of `scores`, None where the score is undefined.
        per_label: ``(k, 2)`` each, for ``average_precision``, ``roc_auc``, ``precision``,
            ``recall`` and ``f1``; NaN where undefined.
    """

    scores: dict[str, Ends | None]
    per_label: dict[str, Floats]


def intervals(
    labels: Labels,
    probabilities: Probabilities,
    thresholds: Floats,
    seed: int,
    groups: Groups = None,
) -> Intervals:
    """Return the intervals of all scores; images of a group, ``(n,)``, are resampled together."""
    units = _Units(labels, groups)
    predicted = probabilities >= thresholds
    tables = [_draw(labels, probabilities, predicted, weights) for weights in units.draws(seed)]
    drawn = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    of_labels = per_label(labels, probabilities, thresholds)._asdict()
    names = ("average_precision", "roc_auc", "precision", "recall", "f1")
    by_label = {
        name: np.array(
            [
                _interval(of_labels[name][label], drawn[name][:, label], units.positive[label])
                for label in range(labels.shape[1])
            ]
        ).reshape(-1, 2)
        for name in names
    }
    overall = scores(labels, probabilities, thresholds, seed, groups)
    positive = int(units.positive.sum())
    macro = {"macro_ap": "average_precision", "macro_auc": "roc_auc", "macro_f1": "f1"}
    ends: dict[str, Ends | None] = {}
    for name, score in overall.items():
        if score is None:
            ends[name] = None
        elif name in macro:
            of_draws = drawn[macro[name]]
            degrees = _degrees(of_draws, units.positive)
            ends[name] = _interval(score, macro_means(of_draws), positive, degrees)
        elif name == "micro_f1":
            ends[name] = _interval(score, drawn[name], positive)
        elif name == "hamming_loss":
            ends[name] = _interval(score, drawn[name], units.number)
        elif name == "subset_accuracy":
            right = (((labels == 1) == predicted) | (labels < 0)).all(axis=1)
            rows = (labels >= 0).any(axis=1)
            ends[name] = accuracy_interval(right[rows], None if groups is None else groups[rows])
        else:
            ends[name] = calibration(labels, probabilities, seed, groups).interval
    return Intervals(ends, by_label)


def compare_with(
    labels: Labels,
    best: Probabilities,
    others: Sequence[Probabilities],
    seed: int,
    groups: Groups = None,
    chosen_here: bool = False,
) -> list[PairedComparison]:
    """Compare classifiers with the best one by macro average precision, on the same images.

    The test is Student's, with the variance of the difference over common draws, adjusted for the
    table as in `headstart.evaluation.metrics.compare_with`. A difference counts only if it is also
    there without the labels of `few_positives`, so that none of them decides alone.
    """
    units, few = _Units(labels, groups), few_positives(labels)
    heads = [best, *others]
    batches = [
        np.stack([weighted_areas(labels, head, weights)[0] for head in heads])
        for weights in units.draws(seed)
    ]
    drawn = np.concatenate(batches, axis=1)  # (heads, draws, k)
    observed = np.stack(
        [
            weighted_areas(labels, head, np.ones((len(labels), 1), np.float32))[0][0]
            for head in heads
        ]
    )
    tests = []
    for place in range(1, len(heads)):
        gain, gains = observed[place] - observed[0], drawn[place] - drawn[0]
        test = _test(gain, gains, units.positive)
        sure = _test(gain[~few], gains[:, ~few], units.positive[~few])
        agree = sure.difference * test.difference > 0
        tests.append(test._replace(p=max(test.p, sure.p) if agree else 1.0))
    raw = [test.p for test in tests]
    pairs = len(others) * (len(others) + 1) / 2
    adjusted = [min(1.0, pairs * p) for p in raw] if chosen_here else holm(raw)
    return [_comparison(test, p) for test, p in zip(tests, adjusted, strict=True)]


class _Test(NamedTuple):
    difference: float
    error: float  # standard error
    degrees: float
    p: float


def _test(gain: Floats, gains: Floats, units: NDArray[np.int64]) -> _Test:
    """Test a mean gain in average precision, ``(k,)``, drawn ``(draws, k)``, against 0."""
    from scipy.special import stdtr

    if not np.isfinite(gain).any():
        return _Test(0.0, 0.0, 1.0, 1.0)
    difference = float(np.nanmean(gain))
    error = float(np.nanstd(macro_means(gains)))
    degrees = max(2.0, min(_degrees(gains, units), float(units.sum()) - 1))
    if error < 1e-12:
        return _Test(difference, 0.0, degrees, 1.0)
    return _Test(difference, error, degrees, 2 * float(stdtr(degrees, -abs(difference) / error)))


def _comparison(test: _Test, p: float) -> PairedComparison:
    from scipy.special import ndtri, stdtrit

    share = (1 - LEVEL) * (min(1.0, test.p / p) if p > 0 else 1.0)
    reach = float(stdtrit(test.degrees, 1 - share / 2)) * test.error
    low, high = max(-1.0, test.difference - reach), min(1.0, test.difference + reach)
    if p <= 1 - LEVEL + 1e-12:
        low, high = (low, min(high, -1e-9)) if test.difference < 0 else (max(low, 1e-9), high)
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    visible = min(1.0, float(ndtri(1 - share / 2) + ndtri(POWER)) * test.error)
    return PairedComparison(test.difference, (low, high), p, visible)


class _Units:
    """What is resampled, images or groups, and how many of them have each label."""

    def __init__(self, labels: Labels, groups: Groups) -> None:
        n = len(labels)
        self.codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.number = int(self.codes.max()) + 1
        has = np.zeros((self.number, labels.shape[1]), bool)
        np.logical_or.at(has, self.codes, labels == 1)
        self.positive = has.sum(axis=0)

    def draws(self, seed: int) -> Iterator[Weights]:
        """Yield how often each image is drawn, ``(n, draws) float32``, in batches."""
        n, rng = len(self.codes), np.random.default_rng(seed)
        left = int(np.clip(CELLS // n, LEAST_DRAWS, DRAWS))
        shares = np.full(self.number, 1 / self.number)
        while left:
            size = min(left, max(1, BATCH // n))
            times = rng.multinomial(self.number, shares, size=size).T.astype(np.float32)
            yield np.ascontiguousarray(times[self.codes])
            left -= size


def _draw(
    labels: Labels, probabilities: Probabilities, predicted: NDArray[np.bool_], weights: Weights
) -> dict[str, Floats]:
    """Return the scores of weighted images, ``(draws, k)`` or ``(draws,)``."""
    precisions, areas = weighted_areas(labels, probabilities, weights)
    counts = count(labels, predicted, weights.T)
    wrong = ((labels == 1) != predicted) & (labels >= 0)
    return {
        "average_precision": precisions,
        "roc_auc": areas,
        "precision": ratio(counts.hits, counts.predicted),
        "recall": ratio(counts.hits, counts.present),
        "f1": counts.f1(),
        "micro_f1": counts.micro_f1(),
        "hamming_loss": ratio(wrong.sum(axis=1) @ weights, (labels >= 0).sum(axis=1) @ weights),
    }


def weighted_areas(
    labels: Labels, probabilities: Probabilities, weights: Weights
) -> tuple[Floats, Floats]:
    """Return average precision and area under the ROC curve of weighted images, ``(draws, k)``.

    Equal probabilities count together, as in scikit-learn. Only thresholds at which an image with
    the label is gained count in either.
    """
    shape = weights.shape[1], labels.shape[1]
    precisions, areas = np.full(shape, np.nan), np.full(shape, np.nan)
    for label in range(shape[1]):
        rows = np.flatnonzero(labels[:, label] >= 0)
        rows = rows[np.argsort(-probabilities[rows, label], kind="stable")]
        values, present = probabilities[rows, label], labels[rows, label] == 1
        if not present.any():
            continue
        new = np.append(True, values[1:] != values[:-1])
        places = np.flatnonzero(present)
        group, first = np.unique((np.cumsum(new) - 1)[places], return_index=True)
        starts = np.flatnonzero(new)
        ends = np.append(starts[1:], len(rows))
        totals = np.zeros((len(rows) + 1, shape[0]), np.float32)
        np.cumsum(weights[rows], axis=0, out=totals[1:])
        gained = np.add.reduceat(weights[rows[places]], first, axis=0)
        hits = np.cumsum(gained, axis=0)
        upto = totals[ends[group]]
        precision = hits / np.maximum(upto, 1)
        precisions[:, label] = ratio(np.einsum("pd,pd->d", precision, gained), hits[-1])
        misses = totals[-1] - hits[-1]
        # Of the other images: those below, and half of those with the same probability.
        same = upto - totals[starts[group]] - gained
        below = misses - (upto - hits) + same / 2
        areas[:, label] = ratio(np.einsum("pd,pd->d", below, gained), hits[-1] * misses)
    return precisions, areas


def _interval(score: float, drawn: Floats, units: int, degrees: float = np.inf) -> Ends:
    """Return the interval of a score with these draws, ``units`` of which decide it.

    Where the draws hardly vary, as at a score of 1, their variance is drawn towards that of a
    proportion of so many units.
    """
    from scipy.special import stdtrit

    drawn = drawn[np.isfinite(drawn)]
    if np.isnan(score) or not len(drawn) or units == 0:
        return float("nan"), float("nan")
    share = (score * units + 0.5) / (units + 1)
    weight = CHANCE / (CHANCE + units * min(score, 1 - score))
    chance = share * (1 - share) / units
    variance = (1 - weight) * float(drawn.var()) + weight * chance
    quantile = float(stdtrit(max(2.0, min(degrees, units - 1.0)), (1 + LEVEL) / 2))
    low, high = wilson(score, share * (1 - share) / max(variance, 1e-12), quantile)
    return min(low, score), max(high, score)


def _degrees(drawn: Floats, units: NDArray[np.int64]) -> float:
    """Return Satterthwaite's degrees of freedom of a mean over labels, ``units`` deciding each.

    Source: Satterthwaite, *An Approximate Distribution of Estimates of Variance Components*, 1946.
    """
    usable = (units > 0) & np.isfinite(drawn).any(axis=0)
    variances = np.nanvar(drawn[:, usable], axis=0)
    uncertain = float((variances**2 / np.maximum(units[usable] - 1, 1)).sum())
    return float(variances.sum()) ** 2 / uncertain if uncertain > 0 else np.inf


def macro_means(drawn: Floats) -> Floats:
    """Return the mean of each draw over the labels that it has, ``(draws,)``."""
    defined = np.isfinite(drawn)
    return ratio(np.where(defined, drawn, 0.0).sum(axis=1), defined.sum(axis=1))
