"""Scores of a classifier of several labels on one set of test images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics.calibration import Calibration
from headstart.evaluation.metrics.calibration import calibration as single_calibration
from headstart.evaluation.metrics.design import Groups
from headstart.heads.multilabel.scoring import average_precisions

FEW = 10  # test images with a label; with fewer, its scores say little

Labels = NDArray[np.int8]
Probabilities = NDArray[np.floating]
Floats = NDArray[np.float64]


class LabelScores(NamedTuple):
    """Scores of each label, ``(k,)`` each; what is undefined is NaN.

    Attributes:
        average_precision: the area under the precision-recall curve as a sum of steps.
        roc_auc: the area under the ROC curve.
        precision: like ``recall`` and ``f1``, at the label's threshold.
        support: images that have the label.
        prevalence: their share of the images where it is known: the average precision of chance.
    """

    average_precision: Floats
    roc_auc: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    support: NDArray[np.int64]
    prevalence: Floats


class Counts(NamedTuple):
    """Hits, labels predicted and labels present; ``(..., k)`` each, perhaps weighted."""

    hits: Floats
    predicted: Floats
    present: Floats

    def f1(self) -> Floats:
        """Return each label's F1, NaN where it is neither present nor predicted."""
        return ratio(2 * self.hits, self.predicted + self.present)

    def micro_f1(self) -> Floats:
        """Return F1 over all labels, NaN if none is present or predicted."""
        total = self.predicted.sum(axis=-1) + self.present.sum(axis=-1)
        return ratio(2 * self.hits.sum(axis=-1), total)


def few_positives(labels: Labels) -> NDArray[np.bool_]:
    """Return the labels that fewer than `FEW` images have, ``(k,)``."""
    few: NDArray[np.bool_] = (labels == 1).sum(axis=0) < FEW
    return few


def per_label(labels: Labels, probabilities: Probabilities, thresholds: Floats) -> LabelScores:
    """Return the scores of each label, ``thresholds`` being ``(k,)``."""
    from sklearn.metrics import roc_auc_score

    k = labels.shape[1]
    areas = np.full(k, np.nan)
    for label in range(k):
        rows = labels[:, label] >= 0
        if len(np.unique(labels[rows, label])) == 2:
            areas[label] = roc_auc_score(labels[rows, label], probabilities[rows, label])
    counts = count(labels, probabilities >= thresholds)
    support = (labels == 1).sum(axis=0)
    return LabelScores(
        average_precisions(labels, probabilities),
        areas,
        ratio(counts.hits, counts.predicted),
        ratio(counts.hits, counts.present),
        counts.f1(),
        support,
        ratio(support, (labels >= 0).sum(axis=0)),
    )


def scores(
    labels: Labels,
    probabilities: Probabilities,
    thresholds: Floats,
    seed: int = 0,
    groups: Groups = None,
) -> dict[str, float | None]:
    """Return the scores over all labels; None where undefined.

    ``macro_ap``, the mean of the labels' average precisions, is also known as mAP. ``macro_f1`` is
    the mean over labels that are present or predicted, and ``micro_f1`` that of all labels at
    once. ``subset_accuracy`` is the share of images whose labels are all right, and
    ``hamming_loss`` that of image and label that are wrong; unknown cells count in neither.
    ``calibration_error`` is debiased, over images and labels, see `calibration`.
    """
    of_labels = per_label(labels, probabilities, thresholds)
    predicted = probabilities >= thresholds
    wrong, annotated = _wrong(labels, predicted), labels >= 0
    perfect = np.asarray(~wrong.any(axis=1))
    values = {
        "macro_ap": _mean(of_labels.average_precision),
        "macro_auc": _mean(of_labels.roc_auc),
        "micro_f1": float(count(labels, predicted).micro_f1()),
        "macro_f1": _mean(of_labels.f1),
        "subset_accuracy": _mean(perfect[annotated.any(axis=1)].astype(float)),
        "hamming_loss": _mean(wrong[annotated].astype(float)),
        "calibration_error": calibration(labels, probabilities, seed, groups).error
        if annotated.any()
        else np.nan,
    }
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def calibration(
    labels: Labels, probabilities: Probabilities, seed: int, groups: Groups = None
) -> Calibration:
    """Return how far probabilities are from frequencies over all images and labels, debiased.

    The labels of an image belong together, so they are worth less than as many images.
    """
    rows, columns = np.nonzero(labels >= 0)
    numbers = np.arange(len(labels)) if groups is None else groups
    present = labels[rows, columns] == 1
    return single_calibration(present, probabilities[rows, columns], seed, numbers[rows])


def count(
    labels: Labels, predicted: NDArray[np.bool_], weights: NDArray[np.floating] | None = None
) -> Counts:
    """Count hits, predicted and present labels, of images with weights ``(..., n)``."""
    weights = np.ones(len(labels)) if weights is None else weights
    present, predicted = labels == 1, predicted & (labels >= 0)
    tables = (present & predicted, predicted, present)
    return Counts(*(np.asarray(weights @ table.astype(weights.dtype), float) for table in tables))


def ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    """Return the ratio, NaN where it divides by zero."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    quotient = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _wrong(labels: Labels, predicted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wrong: NDArray[np.bool_] = ((labels == 1) != predicted) & (labels >= 0)
    return wrong


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
