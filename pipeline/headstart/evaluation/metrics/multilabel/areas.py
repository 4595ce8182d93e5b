"""Areas under the curves of labels, of images with weights."""

from __future__ import annotations

import numpy as np

from headstart.evaluation.metrics.multilabel.scores import Floats, Labels, Probabilities, ratio
from headstart.evaluation.metrics.multilabel.units import Weights


def weighted_areas(
    labels: Labels, probabilities: Probabilities, weights: Weights
) -> tuple[Floats, Floats]:
    """Return average precision and area under the ROC curve of weighted images, ``(draws, k)``.

    Equal probabilities count together, as in scikit-learn. Only thresholds at which an image with
    the label is gained count in either. Weights are ``(n, draws)``.
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
        totals = np.zeros((len(rows) + 1, shape[0]), weights.dtype)
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


def macro_means(drawn: Floats) -> Floats:
    """Return the mean of each draw over the labels that it has, ``(draws,)``."""
    defined = np.isfinite(drawn)
    return ratio(np.where(defined, drawn, 0.0).sum(axis=1), defined.sum(axis=1))
