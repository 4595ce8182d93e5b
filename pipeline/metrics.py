"""Scores of a classifier and how far they can be trusted: pure functions of arrays.

Class labels are integer codes from 0; ``n`` is the number of images and ``k`` the number of
classes. Every function needs at least one image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


def accuracy(true: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Return the share of images whose class is predicted right, 0 to 1.

    Args:
        true: ``(n,)`` codes.
        predicted: ``(n,)`` codes.
    """
    return float(np.mean(true == predicted))


def confusion(
    true: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int
) -> NDArray[np.int64]:
    """Count how often each class is taken for each other one.

    Args:
        true: ``(n,)`` codes below ``n_classes``.
        predicted: ``(n,)`` codes below ``n_classes``.
        n_classes: ``k``.

    Returns:
        ``(k, k)`` counts, rows true, columns predicted.
    """
    cells = true.astype(np.int64) * n_classes + predicted
    counts = np.bincount(cells, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def macro_f1(true: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Return the unweighted mean of the classes' F1 scores, 0 to 1.

    A class counts if it occurs among the true or the predicted labels; a rare one counts as much
    as a common one. F1 is the harmonic mean of precision and recall (van Rijsbergen, *Information
    Retrieval*, 1979), here as ``2 hits / (true + predicted)``, so that it needs no case for 0/0.

    Args:
        true: ``(n,)`` codes.
        predicted: ``(n,)`` codes.
    """
    k = int(max(true.max(), predicted.max())) + 1
    hits = np.bincount(true[true == predicted], minlength=k)
    seen = np.bincount(true, minlength=k) + np.bincount(predicted, minlength=k)
    present = seen > 0
    return float(np.mean(2 * hits[present] / seen[present]))


def log_loss(true: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Return the mean negative log-probability of the true class, in nats.

    Probabilities are clipped to ``[eps, 1 - eps]`` with the machine epsilon of float64, so that a
    class that was ruled out costs 36 nats rather than infinity. A strictly proper score: it is
    least for the true probabilities (Good, *Rational Decisions*, 1952).

    Args:
        true: ``(n,)`` codes.
        probabilities: ``(n, k)``, each row a distribution.
    """
    eps = np.finfo(np.float64).eps
    of_true = probabilities[np.arange(len(true)), true].astype(np.float64)
    return float(-np.mean(np.log(np.clip(of_true, eps, 1 - eps))))


def bootstrap_interval(
    correct: NDArray[np.bool_], seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of an accuracy.

    Drawing n images with replacement and counting the right ones is a draw from
    Binomial(n, accuracy), which is how it is done here. Source: Efron and Tibshirani,
    *An Introduction to the Bootstrap*, 1993, chapter 13.

    Args:
        correct: ``(n,)`` whether each image was classified right.
        seed: of the resampling.
        resamples: how many.
        level: the share of resamples inside the interval.

    Returns:
        The interval's two ends, 0 to 1. Where all images are right, or all wrong, it has no width:
        resampling cannot know of a case that never occurred.
    """
    n = len(correct)
    drawn = np.random.default_rng(seed).binomial(n, np.mean(correct), size=resamples)
    return _percentiles(drawn / n, level)


def paired_bootstrap(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the bootstrap interval of the accuracy of A minus that of B on the same images.

    Both classifiers are resampled together, so what makes an image hard for both cancels. Only the
    images that one of them alone gets right matter, and their counts in a resample are
    multinomial. Source: as `bootstrap_interval`; for the pairing, Koehn, *Statistical Significance
    Tests for Machine Translation Evaluation*, 2004.

    Args:
        correct_a: ``(n,)`` whether A classified each image right.
        correct_b: ``(n,)`` the same for B.
        seed: of the resampling.
        resamples: how many.
        level: the share of resamples inside the interval.

    Returns:
        The interval's two ends, -1 to 1; A is better where both are above 0.
    """
    n = len(correct_a)
    only_a = float(np.mean(correct_a & ~correct_b))
    only_b = float(np.mean(correct_b & ~correct_a))
    shares = [only_a, only_b, max(0.0, 1.0 - only_a - only_b)]
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    return _percentiles((drawn[:, 0] - drawn[:, 1]) / n, level)


def _percentiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
