"""The votes of nearest rows: which they are, and each class's share, from products in float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.training_set import MAX_GRAM_ROWS

BLOCK = 512  # rows that a thread computes distances of at once
GROUP = 16  # columns a minimum bounds; see `smallest`
CELLS = 1 << 23  # pairs of image and class whose votes are counted at once
REFERENCES = 4096  # training rows turned into float64 at once
# Squared distances between rows of norm 1 that differ by less are equal to float32: 1,000 products
# of about 1/1,000 err by some 1e-7 each.
TIE = 5e-6


def gaussian(squared: NDArray[np.floating], gamma: float) -> NDArray[np.float64]:
    """Return the weights of squared distances, ``(m, k)``, nearest first, which has weight 1."""
    weights: NDArray[np.float64] = np.exp(-gamma * (squared - squared[:, :1]))
    return weights


@dataclass(frozen=True)
class Neighbours:
    """The nearest training rows of the rows that one fold holds out, nearest first.

    Attributes:
        labels: ``(m, k)`` codes.
        squared: ``(m, k)``, squared distances.
    """

    labels: NDArray[np.int64]
    squared: NDArray[np.float32]

    def shares(self, k: int, gamma: float, n_classes: int) -> Iterator[NDArray[np.float64]]:
        """Yield each class's share of the votes of the k nearest, in blocks of rows."""
        step = max(1, CELLS // n_classes)
        for start in range(0, len(self.labels), step):
            labels = self.labels[start : start + step, :k]
            weight = gaussian(self.squared[start : start + step, :k].astype(np.float64), gamma)
            cells = np.arange(len(labels))[:, None] * n_classes + labels
            size = len(labels) * n_classes
            totals = np.bincount(cells.ravel(), weight.ravel(), minlength=size)
            totals = totals.reshape(len(labels), n_classes)
            yield totals / totals.sum(axis=1, keepdims=True)

    def all_shares(self, k: int, gamma: float, n_classes: int) -> NDArray[np.float32]:
        """Return `shares` of all rows, ``(m, n_classes)``."""
        blocks = self.shares(k, gamma, n_classes)
        return np.concatenate([block.astype(np.float32) for block in blocks])


def has_many(model: Any) -> bool:  # noqa: ANN401 - a scikit-learn classifier
    """Say whether a classifier is a vote of more rows than scikit-learn should be asked about.

    It computes their distances in float64, which takes several times as long as `votes`.
    """
    weighted = hasattr(getattr(model, "weights", None), "of_squares")
    return weighted and len(model._fit_X) > MAX_GRAM_ROWS


def votes(
    model: Any,  # noqa: ANN401 - a KNeighborsClassifier of codes, as `headstart.heads.knn` makes it
    rows: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return each class's share of the votes for rows ``(n, d)``, ``(n, k)``.

    They are those of ``model.predict_proba`` to rounding, from products in float32.
    """
    references, k, n_classes = model._fit_X, model.n_neighbors, len(model.classes_)
    norms = np.einsum("ij,ij->i", references, references)
    shares = []
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(rows[start : start + BLOCK], np.float32)
        squared = block @ references.T
        squared *= -2.0
        squared += norms
        squared += np.einsum("ij,ij->i", block, block)[:, None]
        columns, nearest = smallest(squared, k)
        near = Neighbours(model._y[columns], np.maximum(nearest, 0))
        shares.append(near.all_shares(k, model.weights.gamma, n_classes))
    return np.concatenate(shares) if shares else np.zeros((0, n_classes), np.float32)


def tied(
    estimator: Any,  # noqa: ANN401 - a fitted head
    rows: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Say for one row or more, ``(n, d)``, if rounding decides which training rows vote.

    It does where the last neighbour and the next row are equally far, as copies of an image with
    different labels are. A head without neighbours has no such rows.
    """
    if hasattr(estimator, "steps"):
        return tied(estimator[-1], estimator[:-1].transform(rows))
    if hasattr(estimator, "n_neighbors"):
        blocks = [_tied(estimator, rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
        return np.concatenate(blocks)
    wrapped = [estimator.estimator] if hasattr(estimator, "estimator") else []
    several = getattr(estimator, "estimators_", getattr(estimator, "estimators", wrapped))
    parts = [tied(part, rows) for part in several]
    return np.logical_or.reduce(parts) if parts else np.zeros(len(rows), np.bool_)


def _tied(
    model: Any,  # noqa: ANN401
    rows: NDArray[np.float32],
) -> NDArray[np.bool_]:
    k, references = model.n_neighbors, model._fit_X
    if k >= len(references):
        return np.zeros(len(rows), np.bool_)
    exact = rows.astype(np.float64)
    squared = np.empty((len(rows), len(references)))
    for start in range(0, len(references), REFERENCES):
        block = references[start : start + REFERENCES].astype(np.float64)
        squared[:, start : start + REFERENCES] = (block**2).sum(axis=1) - 2 * exact @ block.T
    around = np.partition(squared, (k - 1, k), axis=1)[:, k - 1 : k + 1]
    near: NDArray[np.bool_] = np.diff(around, axis=1)[:, 0] < TIE
    return near


def smallest(values: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the columns and values of the k smallest values of each row of ``(m, n)``, ascending.

    In long rows, the k-th smallest of the groups' minima is an upper bound on the k-th smallest
    value, so only the few values within the bound are sorted.
    """
    m, n = values.shape
    groups = n // GROUP
    if groups < 4 * k:
        columns = np.argpartition(values, k - 1, axis=1)[:, :k]
        return _ascending(columns, np.take_along_axis(values, columns, axis=1), k)
    minima = values[:, :groups].copy()
    for start in range(groups, groups * GROUP, groups):
        np.minimum(minima, values[:, start : start + groups], out=minima)
    bound = np.partition(minima, k - 1, axis=1)[:, k - 1, None]
    row, column = np.nonzero(values <= bound)
    counts = np.bincount(row, minlength=m)
    width = int(counts.max())
    if width > 32 * k:  # many equal values
        columns = np.argpartition(values, k - 1, axis=1)[:, :k]
        return _ascending(columns, np.take_along_axis(values, columns, axis=1), k)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = np.zeros((m, width), np.intp)
    small = np.full((m, width), np.inf, np.float32)
    columns[row, place] = column
    small[row, place] = values[row, column]
    return _ascending(columns, small, k)


def _ascending(
    columns: NDArray[np.intp], values: NDArray[np.float32], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
