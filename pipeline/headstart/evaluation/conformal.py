"""Conformal prediction sets, calibrated on answers by models that were not fitted on the image.

The adaptive sets are those of Romano, Sesia and Candès, *Classification with Valid and Adaptive
Coverage*, 2020, with the probability of the classes above the true one as the score, which needs no
random number. The sets by class keep the promise within each class: Vovk, *Conditional Validity of
Inductive Conformal Predictors*, 2012. Of images in groups each group counts once: Dunn, Wasserman
and Ramdas, *Distribution-Free Prediction Sets for Two-Layer Hierarchical Models*, 2023.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import SETS
from headstart.core.prediction_sets import SetRule, mass_above
from headstart.core.results import SetScores
from headstart.evaluation import metrics

LEVEL = 0.95

Codes = NDArray[np.integer]
Groups = NDArray[np.integer] | None


def calibrate(
    true: Codes,
    probabilities: NDArray[np.floating],
    n_classes: int,
    group: Groups = None,
    level: float = LEVEL,
) -> SetRule:
    """Choose the thresholds from ``(n,)`` codes and ``(n, k)`` probabilities."""
    rows = np.arange(len(true))
    above = mass_above(probabilities)[rows, true]
    lacking = 1 - probabilities[rows, true]
    codes = np.arange(len(true)) if group is None else group
    mass = _quantile(above, codes, level)
    least = [
        1 - _quantile(lacking[true == code], codes[true == code], level)
        for code in range(n_classes)
    ]
    return SetRule(level, mass, tuple(least))


def _quantile(scores: NDArray[np.floating], group: NDArray[np.integer], level: float) -> float:
    """Return the score that a share ``level`` of new groups' images do not exceed; at most 1."""
    if not len(scores):
        return 1.0
    _, member, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    weight = np.cumsum((1 / sizes[member])[order])
    needed = level * (len(sizes) + 1)  # the new group may have the highest score of all
    place = int(np.searchsorted(weight, needed - 1e-9))
    return float(scores[order[place]]) if place < len(scores) else 1.0


def measure(
    rule: SetRule, true: Codes, probabilities: NDArray[np.floating], group: Groups = None
) -> list[SetScores]:
    """Return what sets of each kind do on other images."""
    scores = []
    for kind in SETS:
        sets = rule.sets(probabilities, kind)
        covered, sizes = sets[np.arange(len(true)), true], sets.sum(axis=1)
        scores.append(
            SetScores(
                kind=kind,
                coverage=float(covered.mean()),
                coverage_ci=metrics.accuracy_interval(covered, group),
                mean_size=float(sizes.mean()),
                single=float((sizes == 1).mean()),
            )
        )
    return scores
