"""The k nearest neighbours of normalised rows, for every k and weighting from one sorting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import (
    Candidate,
    FittedHead,
    TrainingSet,
    finish,
    run_parallel,
    squared_distances,
)
from pipeline.metrics import accuracy

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

WEIGHTS = ("uniform", "distance")


@dataclass(frozen=True)
class NearestNeighboursHead:
    """A vote of the k nearest training images; between rows of norm 1, Euclidean is cosine.

    Among equals the largest k is chosen, and plain votes rather than votes weighted by one over
    the distance. Source: Cover and Hart, *Nearest Neighbor Pattern Classification*, 1967.

    Attributes:
        name: how users spell it.
        k_grid: numbers of neighbours, descending; what exceeds the rows of a fold is left out.
    """

    name: str = "knn"
    k_grid: tuple[int, ...] = (40, 20, 10, 5, 3, 1)

    def search(self, data: TrainingSet) -> FittedHead:
        """Sort each fold's neighbours once and score every candidate; see `Family`."""
        started = time.perf_counter()
        smallest = min(len(fit) for fit, _ in data.folds)
        ks = [k for k in self.k_grid if k <= smallest]
        grid = [(k, weights) for k in ks for weights in WEIGHTS]
        gram = data.gram
        folds = run_parallel(
            lambda fold: _scores(gram, data.labels, fold, grid), data.folds, data.workers
        )
        candidates = [
            Candidate({"n_neighbors": k, "weights": weights}, scores)
            for (k, weights), scores in zip(grid, zip(*folds, strict=True), strict=True)
        ]
        return finish(self.name, candidates, self.estimator, data, started)

    def estimator(self, params: dict[str, Any]) -> BaseEstimator:
        """Return the stock pipeline for ``{"n_neighbors", "weights"}``, not yet fitted."""
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        neighbours = KNeighborsClassifier(**params, metric="euclidean", algorithm="brute")
        return make_pipeline(Normalizer(), neighbours)


def _scores(
    gram: NDArray[np.float32],
    labels: NDArray[np.int64],
    fold: tuple[NDArray[np.intp], NDArray[np.intp]],
    grid: list[tuple[int, str]],
) -> list[float]:
    """Return the accuracy on one fold for each ``(k, weights)`` of the grid."""
    fit, held_out = fold
    squared = squared_distances(gram, held_out, fit)
    k = max(k for k, _ in grid)
    nearest = np.argpartition(squared, k - 1, axis=1)[:, :k]
    nearest_squared = np.take_along_axis(squared, nearest, axis=1)
    order = np.argsort(nearest_squared, axis=1, kind="stable")
    votes = labels[fit][np.take_along_axis(nearest, order, axis=1)]
    weights = {
        "uniform": np.ones(votes.shape),
        "distance": _closeness(np.sqrt(np.take_along_axis(nearest_squared, order, axis=1))),
    }
    return [
        accuracy(labels[held_out], _winners(votes[:, :k], weights[weighting][:, :k]))
        for k, weighting in grid
    ]


def _closeness(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one over each distance; where a row has distances of 0, these alone count."""
    same = distances == 0.0
    with np.errstate(divide="ignore"):
        return np.where(same.any(axis=1, keepdims=True), same, 1.0 / distances)


def _winners(votes: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class with most weight in each row; the lowest code among equals."""
    n, k = len(votes), int(votes.max()) + 1
    cells = np.arange(n)[:, None] * k + votes
    totals = np.bincount(cells.ravel(), weights.ravel(), minlength=n * k)
    winners: NDArray[np.int64] = totals.reshape(n, k).argmax(axis=1)
    return winners
