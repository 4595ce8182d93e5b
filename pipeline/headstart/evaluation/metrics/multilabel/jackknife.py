"""The bias and the variance of average precision, by leaving out each image or group.

Average precision counts each image with the label among those that its precision is taken over.
That lifts it, most where few images have the label, and resampling with replacement lifts it
further: a repeated image stands beside itself. Leaving out one unit after the other measures the
bias, and the variance too (Quenouille, *Notes on Bias in Estimation*, 1956; Tukey, *Bias and
Confidence in Not-Quite Large Samples*, 1958; Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 11). docs/decisions/0204 has the measured coverage of intervals made of
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics.multilabel.areas import weighted_areas
from headstart.evaluation.metrics.multilabel.scores import Floats, Labels, Probabilities, ratio
from headstart.evaluation.metrics.multilabel.units import BATCH, Units
from headstart.heads.multilabel.scoring import average_precisions


@dataclass(frozen=True)
class Precisions:
    """Average precision of each label, or a difference of it, and its jackknife.

    Attributes:
        observed: ``(k,)``; NaN for a label of no image.
        shifts: ``(units, k)``, the change without each unit; 0 for a label that needs one of them.
        alone: ``(k,)``, whether a label needs one of the units, so that nothing is known of its
            bias and variance.
    """

    observed: Floats
    shifts: Floats
    alone: NDArray[np.bool_]

    @classmethod
    def of(cls, labels: Labels, probabilities: Probabilities, units: Units) -> Precisions:
        """Leave each unit out of the images with ``(n, k)`` labels and probabilities."""
        observed = average_precisions(labels, probabilities)
        without = _without_each(labels, probabilities, units.blocks())
        alone = np.asarray(np.isnan(without).any(axis=0))
        return cls(observed, np.where(alone, 0.0, without - observed), alone)

    def __sub__(self, other: Precisions) -> Precisions:
        """Return the difference of two classifiers on the same units."""
        return Precisions(
            self.observed - other.observed, self.shifts - other.shifts, self.alone | other.alone
        )

    def of_labels(self, chosen: NDArray[np.bool_]) -> Precisions:
        """Return those of some labels, ``(k,)``."""
        return Precisions(self.observed[chosen], self.shifts[:, chosen], self.alone[chosen])

    @property
    def bias(self) -> Floats:
        """Of each label, ``(k,)``."""
        bias: Floats = (len(self.shifts) - 1) * self.shifts.mean(axis=0)
        return bias

    @property
    def variances(self) -> Floats:
        """Of each label, ``(k,)``."""
        return _variance(self.shifts)

    @property
    def variance_of_mean(self) -> float:
        """Of the mean over the labels."""
        return float(_variance(self.shifts.mean(axis=1, keepdims=True))[0])


def _variance(shifts: Floats) -> Floats:
    units = len(shifts)
    variance: Floats = (units - 1) * shifts.var(axis=0)
    return variance


def degrees_of_mean(variances: Floats, degrees: NDArray[np.floating]) -> float:
    """Return the degrees of freedom of a mean over labels with these of their own, at least 2.

    Source: Satterthwaite, *An Approximate Distribution of Estimates of Variance Components*, 1946.
    """
    uncertain = float((variances**2 / np.maximum(degrees, 1)).sum())
    return max(2.0, float(variances.sum()) ** 2 / uncertain) if uncertain > 0 else np.inf


def _without_each(labels: Labels, probabilities: Probabilities, codes: NDArray[np.intp]) -> Floats:
    """Return average precision without each unit, ``(units, k)``; NaN if no positive is left."""
    sizes = np.bincount(codes)
    result = np.empty((len(sizes), labels.shape[1]))
    single = sizes[codes] == 1
    for label in range(labels.shape[1]):
        changed = _without_image(labels[:, label], probabilities[:, label])
        result[codes[single], label] = changed[single]
    several = np.flatnonzero(sizes > 1)
    step = max(1, BATCH // len(codes))
    for start in range(0, len(several), step):
        some = several[start : start + step]
        weights = (codes[:, np.newaxis] != some).astype(np.float64)
        result[some] = weighted_areas(labels, probabilities, weights)[0]
    return result


def _without_image(labels: NDArray[np.int8], probabilities: NDArray[np.floating]) -> Floats:
    """Return a label's average precision without each image, ``(n,)``.

    An image counts at all thresholds that are at most its own probability, so two sums along the
    thresholds are enough: of what stays above, and of what changes below.
    """
    rows = np.flatnonzero(labels >= 0)
    if not (labels[rows] == 1).any():
        return np.full(len(labels), np.nan)
    _, place = np.unique(-probabilities[rows], return_inverse=True)
    present = labels[rows] == 1
    gained = np.bincount(place, present).astype(np.float64)
    hits, images = np.cumsum(gained), np.cumsum(np.bincount(place))
    fewer, total = np.maximum(images - 1, 1), float(gained.sum())
    stays = np.cumsum(gained * hits / images)
    above = stays - gained * hits / images
    negative = _from_here(gained * hits / fewer)
    positive = _from_here(gained * (hits - 1) / fewer)
    positive -= (hits - 1) / fewer  # the image itself
    result = np.full(len(labels), stays[-1] / total)
    left = above[place] + np.where(present, positive[place], negative[place])
    result[rows] = ratio(left, total - present)
    return result


def _from_here(values: Floats) -> Floats:
    sums: Floats = np.cumsum(values[::-1])[::-1]
    return sums
