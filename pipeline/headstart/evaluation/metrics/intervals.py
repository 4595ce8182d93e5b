"""Uncertainty from the choice of test images: bootstrap intervals and paired tests.

Each draw weights the n test images by how often it contains them (Efron and Tibshirani, *An
Introduction to the Bootstrap*, 1993, chapter 13). The same seed gives the same draws to every
classifier, so differences between two of them are paired. Whole groups are drawn, because images of
a group are not independent and would narrow the intervals (Davison and Hinkley, *Bootstrap Methods
and their Application*, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics import scores
from headstart.heads.scoring import log_losses

RESAMPLES = 2000
LEVEL = 0.95
BLOCK_CELLS = 4_000_000  # weights in memory at once

Interval = tuple[float, float]
Groups = NDArray[np.integer] | None
Weights = NDArray[np.float32]
Samples = NDArray[np.float64]


def bootstrap_interval(
    correct: NDArray[np.bool_],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    groups: Groups = None,
) -> Interval:
    """Return the percentile bootstrap interval of an accuracy: two ends, 0 to 1.

    ``correct``, ``(n,)``, says whether each image was classified correctly, ``groups``, ``(n,)``,
    which images are resampled together, and ``level`` the share of resamples inside the interval.
    If all images are right, or all wrong, the interval has no width.
    """
    return _percentiles(_means(correct, seed, resamples, groups), level)


def paired_bootstrap(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    groups: Groups = None,
) -> Interval:
    """Return the bootstrap interval of the accuracy of A minus that of B on the same images.

    Both classifiers are resampled together, so what makes an image hard for both cancels. The ends
    lie between -1 and 1; A is better if both are above 0. Source: Koehn, *Statistical Significance
    Tests for Machine Translation Evaluation*, 2004.
    """
    difference = correct_a.astype(np.float32) - correct_b
    return _percentiles(_means(difference, seed, resamples, groups), level)


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Return the exact p-value of McNemar's test that A and B are right equally often.

    It is a two-sided binomial test on the images that only one of the two gets right, taken as
    independent. Source: McNemar, *Note on the Sampling Error of the Difference Between Correlated
    Proportions*, 1947; exact as in Dietterich, *Approximate Statistical Tests for Comparing
    Supervised Classification Learning Algorithms*, 1998.
    """
    from scipy.special import bdtr

    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    discordant = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0


def score_intervals(
    true: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    groups: Groups = None,
) -> dict[str, Interval | None]:
    """Return the percentile bootstrap interval of every score, from the same draws.

    The names are ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``log_loss``, ``roc_auc`` and
    ``ece``. A class without images in a draw does not count in it. ``roc_auc`` is resampled to
    first order in the weights, by the slopes of `scores.roc_auc`, and is None if there is no curve.
    """
    resampled = _Resampled(true, probabilities)
    blocks = [resampled.scores(w) for w in _weights(len(true), seed, resamples, groups)]
    intervals: dict[str, Interval | None] = {
        name: _percentiles(np.concatenate([block[name] for block in blocks]), level)
        for name in blocks[0]
    }
    return intervals | ({} if resampled.has_curve else {"roc_auc": None})


class _Resampled:
    def __init__(self, true: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
        predicted = probabilities.argmax(axis=1)
        confidence = probabilities.max(axis=1)
        area, slopes = scores.roc_auc(true, probabilities)
        self.has_curve = area is not None
        self._area = area or 0.0
        self._correct = true == predicted
        # One column for each score that is linear in the weights.
        columns = (self._correct, log_losses(true, probabilities), slopes)
        self._linear = np.column_stack(columns).astype(np.float64)
        self._surplus = (confidence - self._correct).astype(np.float32)
        self._bins = _Sums(scores.confidence_bins(confidence))
        classes = np.unique(np.concatenate([true, predicted]))
        self._k = len(classes)
        self._true = _Sums(np.searchsorted(classes, true))
        self._predicted = _Sums(np.searchsorted(classes, predicted))

    def scores(self, weights: Weights) -> dict[str, Samples]:
        """Return each score for each draw, ``(b,)``, of weights ``(b, n)``."""
        total = weights.sum(axis=1, dtype=np.float64)
        hit_sum, loss_sum, slope = (weights @ self._linear).T
        support, answers, hits = np.zeros((3, len(weights), self._k), dtype=np.float32)
        support[:, self._true.codes] = self._true(weights)
        hits[:, self._true.codes] = self._true(weights * self._correct)
        answers[:, self._predicted.codes] = self._predicted(weights)
        surplus = self._bins(weights * self._surplus)
        return {
            "accuracy": hit_sum / total,
            "balanced_accuracy": _mean_ratio(hits, support),
            "macro_f1": _mean_ratio(2 * hits, support + answers),
            "log_loss": loss_sum / total,
            "roc_auc": np.clip(self._area + slope, 0.0, 1.0),
            "ece": np.abs(surplus).sum(axis=1, dtype=np.float64) / total,
        }


class _Sums:
    """Sums the columns of a matrix by code; ``codes`` has those that occur, ascending."""

    def __init__(self, codes: NDArray[np.integer]) -> None:
        self._order = np.argsort(codes, kind="stable")
        self.codes, self._starts = np.unique(codes[self._order], return_index=True)

    def __call__(self, values: Weights) -> Weights:
        sums: Weights = np.add.reduceat(values[:, self._order], self._starts, axis=1)
        return sums


def _mean_ratio(part: Weights, whole: Weights) -> Samples:
    """Return each row's mean of ``part / whole`` over the columns that are not empty."""
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    mean: Samples = ratio.sum(axis=1, dtype=np.float64) / (whole > 0).sum(axis=1)
    return mean


def _means(values: NDArray[np.generic], seed: int, resamples: int, groups: Groups) -> Samples:
    column = values.astype(np.float64)
    return np.concatenate(
        [
            (weights @ column) / weights.sum(axis=1, dtype=np.float64)
            for weights in _weights(len(values), seed, resamples, groups)
        ]
    )


def _weights(n: int, seed: int, resamples: int, groups: Groups) -> Iterator[Weights]:
    """Yield the draws in blocks ``(b, n)``: how often each of the n images is in each of them."""
    rng = np.random.default_rng(seed)
    group = None if groups is None else np.unique(groups, return_inverse=True)[1]
    units = n if group is None else int(group.max()) + 1
    step = max(1, BLOCK_CELLS // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(units, size=(size, units))
        drawn += np.arange(size)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        weights = counts.astype(np.float32)
        yield weights if group is None else weights[:, group]


def _percentiles(values: Samples, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
