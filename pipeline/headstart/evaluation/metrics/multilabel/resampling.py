"""Intervals of the scores of several labels, for dependent labels and images.

Average precision has a jackknife, see `jackknife`. The other scores have the bootstrap's variance
(Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993), which covers how labels of an
image depend on each other, but not its quantiles: few positives have few of them. Each score gets
Wilson's interval for as many images as its variance is worth, as the scores of one class have; see
docs/decisions/0204 for the measured coverage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.proportions import wilson
from headstart.evaluation.metrics.design import LEVEL, Groups
from headstart.evaluation.metrics.intervals import accuracy_interval
from headstart.evaluation.metrics.multilabel.areas import macro_means, weighted_areas
from headstart.evaluation.metrics.multilabel.jackknife import Precisions, degrees_of_mean
from headstart.evaluation.metrics.multilabel.scores import (
    Floats,
    Labels,
    Probabilities,
    calibration,
    count,
    per_label,
    ratio,
    scores,
)
from headstart.evaluation.metrics.multilabel.units import Units, Weights

CHANCE = 0.25  # of an image: the weight of a proportion's variance where scores hardly vary

Ends = tuple[float, float]


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
    worth: float = 1.0,
) -> Intervals:
    """Return the intervals of all scores; images of a group, ``(n,)``, are resampled together.

    ``worth`` is that of an answer, see `headstart.evaluation.metrics.design.Design`.
    """
    units = Units(labels, groups)
    predicted = probabilities >= thresholds
    tables = [_draw(labels, probabilities, predicted, weights) for weights in units.draws(seed)]
    drawn = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    of_labels = per_label(labels, probabilities, thresholds)._asdict()
    by_label = {
        name: np.array(
            [
                _resampled(
                    of_labels[name][label], drawn[name][:, label], units.positive[label], worth
                )
                for label in range(labels.shape[1])
            ]
        ).reshape(-1, 2)
        for name in ("roc_auc", "precision", "recall", "f1")
    }
    overall = scores(labels, probabilities, thresholds, seed, groups)
    positive = int(units.positive.sum())
    macro = {"macro_auc": "roc_auc", "macro_f1": "f1"}
    ends: dict[str, Ends | None] = {}
    by_label["average_precision"], ends["macro_ap"] = precision_intervals(
        Precisions.of(labels, probabilities, units), units.positive, worth
    )
    for name, score in overall.items():
        if name == "macro_ap":
            continue
        if score is None:
            ends[name] = None
        elif name in macro:
            of_draws = drawn[macro[name]]
            degrees = _degrees(of_draws, units.positive)
            ends[name] = _resampled(score, macro_means(of_draws), positive, worth, degrees)
        elif name == "micro_f1":
            ends[name] = _resampled(score, drawn[name], positive, worth)
        elif name == "hamming_loss":
            ends[name] = _resampled(score, drawn[name], units.number, worth)
        elif name == "subset_accuracy":
            right = (((labels == 1) == predicted) | (labels < 0)).all(axis=1)
            rows = (labels >= 0).any(axis=1)
            own = None if groups is None else groups[rows]
            ends[name] = accuracy_interval(right[rows], own, worth=worth)
        else:  # the interval of the calibration error is wide enough without the worth
            ends[name] = calibration(labels, probabilities, seed, groups).interval
    return Intervals(ends, by_label)


def precision_intervals(
    precisions: Precisions, units: NDArray[np.int64], worth: float
) -> tuple[Floats, Ends | None]:
    """Return the intervals of each label, ``(k, 2)``, and of the mean.

    They lie around the scores less their biases. The variance of a label is drawn towards that of a
    proportion of the ``units`` that have it, most where it hardly varies or one unit decides, and
    has as many degrees of freedom.
    """
    from scipy.special import stdtrit

    ends = np.full((len(units), 2), np.nan)
    defined = np.flatnonzero(np.isfinite(precisions.observed))
    if not len(defined):
        return ends, None
    own, n = precisions.of_labels(np.isfinite(precisions.observed)), units[defined]
    shares = (own.observed * n + 0.5) / (n + 1)
    weights = CHANCE / (CHANCE + n * np.minimum(own.observed, 1 - own.observed))
    weights = np.where(own.alone, 1.0, weights)
    variances = (1 - weights) * own.variances + weights * shares * (1 - shares) / n
    quantiles = stdtrit(np.maximum(n, 2.0), (1 + LEVEL) / 2)
    for place, label in enumerate(defined.tolist()):
        score = float(own.observed[place])
        centre = score - float(own.bias[place])
        variance = float(variances[place]) / worth
        ends[label] = _ends(score, centre, variance, int(n[place]), float(quantiles[place]))
    variance = own.variance_of_mean + float((variances - own.variances).sum()) / len(n) ** 2
    degrees = min(degrees_of_mean(variances, n.astype(float)), max(2.0, float(n.sum()) - 1))
    quantile = float(stdtrit(degrees, (1 + LEVEL) / 2))
    score = float(own.observed.mean())
    return ends, _ends(score, score - float(own.bias.mean()), variance / worth, n.sum(), quantile)


def _ends(score: float, centre: float, variance: float, units: int, quantile: float) -> Ends:
    """Return Wilson's interval around a centre, widened to the score."""
    centre = min(max(centre, 0.0), 1.0)
    share = (centre * units + 0.5) / (units + 1)
    low, high = wilson(centre, share * (1 - share) / max(variance, 1e-12), quantile)
    return float(min(low, score)), float(max(high, score))


def _draw(
    labels: Labels, probabilities: Probabilities, predicted: NDArray[np.bool_], weights: Weights
) -> dict[str, Floats]:
    """Return the scores of weighted images, ``(draws, k)`` or ``(draws,)``."""
    _, areas = weighted_areas(labels, probabilities, weights)
    counts = count(labels, predicted, weights.T)
    wrong = ((labels == 1) != predicted) & (labels >= 0)
    return {
        "roc_auc": areas,
        "precision": ratio(counts.hits, counts.predicted),
        "recall": ratio(counts.hits, counts.present),
        "f1": counts.f1(),
        "micro_f1": counts.micro_f1(),
        "hamming_loss": ratio(wrong.sum(axis=1) @ weights, (labels >= 0).sum(axis=1) @ weights),
    }


def _resampled(
    score: float, drawn: Floats, units: int, worth: float, degrees: float = np.inf
) -> Ends:
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
    variance = (1 - weight) * float(drawn.var()) + weight * share * (1 - share) / units
    quantile = float(stdtrit(max(2.0, min(degrees, units - 1.0)), (1 + LEVEL) / 2))
    return _ends(score, score, variance / worth, units, quantile)


def _degrees(drawn: Floats, units: NDArray[np.int64]) -> float:
    """Return the degrees of freedom of a mean over labels, ``units`` deciding each."""
    usable = (units > 0) & np.isfinite(drawn).any(axis=0)
    return degrees_of_mean(np.nanvar(drawn[:, usable], axis=0), units[usable] - 1.0)
