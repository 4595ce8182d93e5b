"""Average precision and log loss of many labels at once, by which a search compares candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precisions(
    labels: NDArray[np.int8], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return each label's average precision, ``(k,)``, of scores ``(n, k)``.

    It is scikit-learn's ``average_precision_score`` of the rows where the label is known, which
    counts equal scores together: the sum over thresholds of the precision, weighted by the gain in
    recall. NaN without an image that has the label, or if a score is NaN.
    """
    annotated = labels >= 0
    missing = (np.isnan(scores) & annotated).any(axis=0)
    ordered = np.where(annotated & ~missing, -scores, np.inf)  # unknown rows come last
    order = np.argsort(ordered, axis=0, kind="stable")
    sorted_scores = np.take_along_axis(ordered, order, axis=0)
    hits = np.take_along_axis(labels == 1, order, axis=0)
    counted = np.take_along_axis(annotated, order, axis=0)
    hits_so_far = np.cumsum(hits, axis=0, dtype=np.float64)
    precision = hits_so_far / np.maximum(np.cumsum(counted, axis=0), 1)
    # The precision at a threshold is that at the last of equal scores.
    last = np.ones(labels.shape, bool)
    last[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    before = np.zeros_like(hits_so_far)
    np.maximum.accumulate(np.where(last, hits_so_far, 0.0)[:-1], axis=0, out=before[1:])
    totals = hits_so_far[-1]
    areas = np.where(last, precision * (hits_so_far - before), 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(missing, np.nan, areas / np.where(totals > 0, totals, np.nan))


def log_losses(
    labels: NDArray[np.int8], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return each label's mean log loss over the rows where it is known, ``(k,)``, in nats."""
    annotated = labels >= 0
    eps = np.finfo(np.float64).eps
    likely = np.where(labels == 1, probabilities, 1 - probabilities.astype(np.float64))
    losses = np.where(annotated, -np.log(np.clip(likely, eps, 1 - eps)), 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = losses / annotated.sum(axis=0)
    return mean
