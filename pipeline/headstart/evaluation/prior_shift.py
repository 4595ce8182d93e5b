"""How often each class occurs in a batch, if nothing but the classes' shares has changed.

Saerens, Latinne and Decaestecker, *Adjusting the Outputs of a Classifier to New a Priori
Probabilities: A Simple Procedure*, 2002: expectation-maximisation finds the shares under which the
batch is most likely. The probabilities must be calibrated, as those of Headstart's models are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.proportions import wilson
from headstart.evaluation.metrics import Interval
from headstart.evaluation.metrics.design import Design

LEAST_IMAGES = 30  # fewer say too little: a single image would put all weight on its class
FOREIGN = 0.05  # share of images unlike the training set from which on more than shares changed
_STEPS = 1_000
_TOLERANCE = 1e-7

Groups = NDArray[np.integer] | None
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class PriorShift:
    """The estimated ``shares`` of the classes, ``(k,)``, with the ``intervals`` of each."""

    shares: Shares
    intervals: list[Interval]


def estimate(
    probabilities: NDArray[np.floating], training: Shares, group: Groups = None
) -> PriorShift:
    """Estimate the classes' shares in a batch with probabilities ``(n, k)``.

    ``training``, ``(k,)``, are their shares in training. The variance of a share is that of the
    images' influence on it, from the curvature of the likelihood, summed by ``group``; the interval
    is Wilson's for as many images as that variance is worth.
    """
    ratio = _ratio(probabilities, training)
    shares = np.asarray(training, np.float64)
    for _ in range(_STEPS):
        before = shares
        weights = ratio * before
        shares = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(shares - before).max() < _TOLERANCE:
            break
    return PriorShift(shares, _intervals(ratio, shares, group))


def correct(
    probabilities: NDArray[np.floating], training: Shares, shares: Shares
) -> NDArray[np.float64]:
    """Return the probabilities ``(n, k)`` under other shares of the classes."""
    weights = _ratio(probabilities, training) * shares
    corrected: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return corrected


def _ratio(probabilities: NDArray[np.floating], training: Shares) -> NDArray[np.float64]:
    """Return what each image says for each class against its share in training."""
    floor = np.finfo(np.float32).tiny  # no class is impossible, so no row is all zeros
    ratio: NDArray[np.float64] = np.maximum(probabilities, floor) / np.maximum(training, 1e-9)
    return ratio


def _intervals(ratio: NDArray[np.float64], shares: Shares, group: Groups) -> list[Interval]:
    """Return the intervals of shares; a class with none is given one image, to have a slope."""
    n, k = ratio.shape
    smooth = (shares * n + 1) / (n + k)
    score = ratio / (ratio @ smooth)[:, None]
    # The shares add up to 1, so only moves within that plane count: see Efron and Hinkley, 1978.
    curvature = score.T @ score
    bordered = np.block([[curvature, np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
    inverse = np.linalg.pinv(bordered, hermitian=True)[:k, :k]
    influence = score @ inverse
    influence -= influence.mean(axis=0)
    intervals = []
    for code in range(k):
        column = influence[:, code]
        design = Design.of(column > 0, group)
        variance = float(column @ column) * design.effect(column)
        share, spread = float(shares[code]), float(smooth[code] * (1 - smooth[code]))
        worth = min(spread / max(variance, 1e-12), float(n))
        intervals.append(wilson(min(max(share, 0.0), 1.0), max(worth, 1.0), design.quantile()))
    return intervals
