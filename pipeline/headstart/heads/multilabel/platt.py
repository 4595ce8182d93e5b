"""Calibrated probabilities of many labels: a logistic function of each label's own values.

Source: Platt, *Probabilistic Outputs for Support Vector Machines*, 1999, with his smoothed targets;
the Newton method is that of Lin, Lin and Weng, *A Note on Platt's Probabilistic Outputs for Support
Vector Machines*, 2007, here for all labels at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.heads.multilabel.scoring import log_losses

Floats = NDArray[np.float64]
ROUNDS = 50
TOLERANCE = 1e-5  # largest gradient, of a mean log loss
DAMPING = 1e-9
FLATTEST = 1e-3  # least slope, in units of 1 / deviation: the order of images is the head's own


class Sigmoids(NamedTuple):
    """``1 / (1 + exp(-(slope * value + bias)))`` for each label, ``(k,)`` each.

    ``prior`` is the probability of a label whose value is NaN.
    """

    slope: Floats
    bias: Floats
    prior: Floats

    def probabilities(self, values: NDArray[np.floating]) -> Floats:
        """Return ``(n, k)``."""
        scores = np.where(np.isnan(values), 0.0, values) * self.slope + self.bias
        chances: Floats = np.where(np.isnan(values), self.prior, sigmoid(scores))
        return chances


class Part(NamedTuple):
    """A model of the values of some labels, before calibration.

    Attributes:
        model: a fitted scikit-learn regression, or weights ``(d, c)``.
        intercepts: ``(c,)``, added to the model's values.
        columns: ``(c,)``, which labels these are.
    """

    model: Any
    intercepts: NDArray[np.floating]
    columns: NDArray[np.intp]


def sigmoid(scores: NDArray[np.floating]) -> Floats:
    """Return the logistic function, without overflow."""
    small = np.exp(-np.abs(scores), dtype=np.float64)
    chances: Floats = np.where(scores >= 0, 1.0, small) / (1.0 + small)
    return chances


def fit(values: NDArray[np.floating], labels: NDArray[np.int8]) -> Sigmoids:
    """Return the sigmoids of least log loss for ``(n, k)`` values and labels.

    Unknown cells and values that are NaN do not count. The labels' own prevalence is what
    probabilities are calibrated to, whatever weights the head was fitted with.
    """
    annotated = labels >= 0
    positives, total = (labels == 1).sum(axis=0), annotated.sum(axis=0)
    prior = (positives + 1.0) / (total + 2.0)
    counted = annotated & np.isfinite(values)
    images = np.maximum(counted.sum(axis=0), 1)
    filled = np.where(counted, values, 0.0).astype(np.float64)
    mean = filled.sum(axis=0) / images
    centred = np.where(counted, filled - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / images)
    usable = deviation > 0
    unit = np.where(usable, deviation, 1.0)
    slope, bias = _newton(centred / unit, _targets(labels, counted), counted / images, prior)
    flat = usable & (slope < FLATTEST)
    slope = np.where(flat, FLATTEST, np.where(usable, slope, 0.0))
    bias = np.where(flat | ~usable, np.log(prior / (1 - prior)), bias)
    return Sigmoids(slope / unit, bias - slope * mean / unit, prior)


def cross_fitted(
    values: NDArray[np.floating], labels: NDArray[np.int8], division: NDArray[np.integer]
) -> Floats:
    """Return probabilities, ``(n, k)``, each calibrated on the other parts of the division."""
    probabilities = np.empty(values.shape)
    for number in np.unique(division):
        own = division == number
        others = own if own.all() else ~own
        probabilities[own] = fit(values[others], labels[others]).probabilities(values[own])
    return probabilities


def least_losses(values: NDArray[np.floating], labels: NDArray[np.int8]) -> Floats:
    """Return each label's log loss after calibration, ``(k,)``, by which candidates compare."""
    return log_losses(labels, fit(values, labels).probabilities(values))


def _targets(labels: NDArray[np.int8], counted: NDArray[np.bool_]) -> Floats:
    """Return Platt's targets: as if one more image had, and one more lacked, each label."""
    present = (labels == 1) & counted
    positives = present.sum(axis=0)
    negatives = counted.sum(axis=0) - positives
    targets: Floats = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return targets


def _newton(
    values: Floats, targets: Floats, weights: Floats, prior: Floats
) -> tuple[Floats, Floats]:
    """Minimise each column's weighted log loss over slope and bias; a convex problem."""

    def loss(slope: Floats, bias: Floats) -> Floats:
        scores = values * slope + bias
        costs = np.maximum(scores, 0) - targets * scores + np.log1p(np.exp(-np.abs(scores)))
        total: Floats = (weights * costs).sum(axis=0)
        return total

    slope, bias = np.zeros(len(prior)), np.log(prior / (1 - prior))
    current = loss(slope, bias)
    for _ in range(ROUNDS):
        chances = sigmoid(values * slope + bias)
        surplus, curve = weights * (chances - targets), weights * chances * (1 - chances)
        by_slope, by_bias = (surplus * values).sum(axis=0), surplus.sum(axis=0)
        if max(np.abs(by_slope).max(initial=0), np.abs(by_bias).max(initial=0)) < TOLERANCE:
            break
        first = (curve * values**2).sum(axis=0) + DAMPING
        second = curve.sum(axis=0) + DAMPING
        mixed = (curve * values).sum(axis=0)
        determinant = first * second - mixed**2
        step = -(second * by_slope - mixed * by_bias) / determinant
        shift = -(first * by_bias - mixed * by_slope) / determinant
        descent = by_slope * step + by_bias * shift
        scale = np.ones(len(slope))
        for _ in range(ROUNDS):
            tried = loss(slope + scale * step, bias + scale * shift)
            worse = tried > current + 1e-4 * scale * descent + 1e-12
            if not worse.any():
                break
            scale[worse] /= 2
        scale[worse] = 0.0
        slope, bias = slope + scale * step, bias + scale * shift
        current = np.where(worse, current, tried)
    return slope, bias
