"""The k nearest neighbours of normalised rows, for every k and weighting from one sorting.

Up to some thousands of rows, distances come from the Gram matrix that the SVMs use too. Beyond,
they are worked out block by block, and no matrix of all pairs is held. Neighbours are exact, but
for those of very many rows on disk (`headstart.heads.neighbours`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads import neighbours, sampling
from headstart.heads.calibration import Sigmoid, calibrate, fit_sigmoid
from headstart.heads.neighbours import smallest
from headstart.heads.scoring import accuracy
from headstart.heads.search import (
    MAX_GRAM_ROWS,
    SAME_IMAGE,
    Candidate,
    FittedHead,
    TrainingSet,
    finish,
    preference,
)

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

WEIGHTS = ("uniform", "distance")
BLOCK = 512  # rows whose distances a thread holds at once
ASKED = 50_000  # rows on disk whose neighbours decide about k
CELLS = 1 << 23  # votes are counted for so many pairs of image and class at once


@dataclass(frozen=True)
class Neighbours:
    """The nearest training rows of the rows that one fold holds out, nearest first.

    Attributes:
        labels: ``(m, k)`` their codes.
        closeness: ``(m, k)`` one over their distances; where some are 0, 1 for these and 0 else.
    """

    labels: NDArray[np.int64]
    closeness: NDArray[np.float64]

    def shares(self, k: int, weights: str, n_classes: int) -> Iterator[NDArray[np.float64]]:
        """Yield each class's share of the votes of the nearest k, for blocks of rows, in order."""
        step = max(1, CELLS // n_classes)
        for start in range(0, len(self.labels), step):
            labels = self.labels[start : start + step, :k]
            weight = np.ones(labels.shape)
            if weights == "distance":
                weight = self.closeness[start : start + step, :k]
            cells = np.arange(len(labels))[:, None] * n_classes + labels
            size = len(labels) * n_classes
            totals = np.bincount(cells.ravel(), weight.ravel(), minlength=size)
            totals = totals.reshape(len(labels), n_classes)
            yield totals / totals.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class NearestNeighboursHead:
    """A vote of the k nearest training images; between rows of norm 1, Euclidean is cosine.

    Among equals the largest k is chosen, and plain votes rather than votes weighted by one over
    the distance. Source: Cover and Hart, *Nearest Neighbor Pattern Classification*, 1967. Votes
    are smoothed to probabilities by a sigmoid: a class without votes is improbable, not impossible.

    Attributes:
        name: how users spell it.
        k_grid: numbers of neighbours, descending; what exceeds the rows of a fold is left out.
    """

    name: str = "knn"
    k_grid: tuple[int, ...] = (40, 20, 10, 5, 3, 1)

    def search(self, data: TrainingSet) -> FittedHead:
        """Find each fold's neighbours once and score every candidate; see `Family`."""
        started = time.perf_counter()
        smallest = min(len(fit) for fit, _ in data.folds)
        ks = [k for k in self.k_grid if k <= smallest] or [smallest]
        if data.streamed:
            return _on_disk(self.name, ks, data, started)
        found = [_neighbours(data, fit, held_out, max(ks)) for fit, held_out in data.folds]

        def fit(best: Candidate) -> tuple[BaseEstimator, NDArray[np.float64]]:
            k, weights = best.params["n_neighbors"], best.params["weights"]
            parts = [near.shares(k, weights, data.n_classes) for near in found]
            votes = data.gather([np.concatenate(list(part)) for part in parts])
            return self._fit(best.params, votes, data)

        candidates = _scored(found, ks, data)
        return finish(self.name, candidates, fit, data, started)

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return shares of the votes; see `Family`."""
        answers = []
        for fit, held_out in data.folds:
            k = min(params["n_neighbors"], len(fit))
            near = _neighbours(data, fit, held_out, k)
            shares = near.shares(k, params["weights"], data.n_classes)
            answers.append(np.concatenate(list(shares)))
        return list(answers)

    def _fit(
        self, params: dict[str, Any], votes: NDArray[np.float32], data: TrainingSet
    ) -> tuple[BaseEstimator, NDArray[np.float64]]:
        """Fit the stock pipeline, calibrated on out-of-fold votes."""
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        classifier = KNeighborsClassifier(**params, metric="euclidean", algorithm="brute")
        classifier.fit(data.rows, data.labels)
        calibrated, out_of_fold = calibrate(classifier, votes, data)
        return make_pipeline(Normalizer().fit(data.features[:1]), calibrated), out_of_fold


def _scored(found: Sequence[Neighbours], ks: Sequence[int], data: TrainingSet) -> list[Candidate]:
    """Score every k and weighting on the neighbours of the rows that each fold holds out."""

    def evaluate(candidate: tuple[int, str]) -> Candidate:
        k, weights = candidate
        scores = tuple(
            accuracy(data.labels[held_out], _winners(near.shares(k, weights, data.n_classes)))
            for near, (_, held_out) in zip(found, data.folds, strict=True)
        )
        return Candidate({"n_neighbors": k, "weights": weights}, scores)

    return run_parallel(evaluate, [(k, weights) for k in ks for weights in WEIGHTS], data.workers)


def _on_disk(name: str, ks: Sequence[int], data: TrainingSet, started: float) -> FittedHead:
    """Search among rows that stay on disk.

    Every row may be a neighbour, but so many neighbours are asked for only as it takes to choose
    k. The estimator would hold the rows, as would a model file: it is for comparing only.
    """
    asked = sampling.sample(data, ASKED)
    is_asked = np.zeros(len(data.labels), bool)
    is_asked[asked] = True
    folds = [(fit, held_out[is_asked[held_out]]) for fit, held_out in data.folds]
    part = data.divided(folds)
    index = neighbours.search_over(data)
    found = [
        _as_neighbours(data.labels, *index.nearest(data.rows[held_out], max(ks), fit))
        for fit, held_out in folds
    ]
    candidates = _scored(found, ks, part)
    best = min(candidates, key=preference)
    k, weights = best.params["n_neighbors"], best.params["weights"]
    votes = part.gather(
        [np.concatenate(list(near.shares(k, weights, data.n_classes))) for near in found]
    )
    known = np.unique(data.labels)
    sigmoid, out_of_fold = fit_sigmoid(known, votes, data.labels, 0.5)
    how = [index.told]
    how += [f"scored on {len(asked):,} of the rows"] if len(asked) < len(data.labels) else []
    return FittedHead(
        name=name,
        params=best.params | index.params,
        cv_accuracy=best.accuracy,
        cv_std=best.std,
        grid=[candidate.to_json() for candidate in candidates],
        estimator=_Voters(index, data.labels, known, k, weights, sigmoid),
        seconds=time.perf_counter() - started,
        out_of_fold=out_of_fold,
        approximation="; ".join(filter(None, how)),
        portable=False,
    )


@dataclass(frozen=True)
class _Voters:
    """What classifies by neighbours on disk, with the part of scikit-learn's interface it needs.

    Attributes:
        index: finds the neighbours.
        labels: ``(n,)`` codes of the training rows.
        classes_: the codes that occur.
        k: how many neighbours vote.
        weights: one of `WEIGHTS`.
        sigmoid: makes probabilities of the shares of votes.
    """

    index: neighbours.Search
    labels: NDArray[np.int64]
    classes_: NDArray[np.int64]
    k: int
    weights: str
    sigmoid: Sigmoid

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probabilities of the classes for ``(m, d)`` raw features."""
        from sklearn.preprocessing import normalize

        near = _as_neighbours(self.labels, *self.index.nearest(normalize(features), self.k))
        shares = near.shares(self.k, self.weights, int(self.classes_.max()) + 1)
        return self.sigmoid.probabilities(np.concatenate(list(shares))[:, self.classes_])


def _winners(shares: Iterator[NDArray[np.float64]]) -> NDArray[np.intp]:
    """Return the class with the largest share in each row; the lowest code among equals."""
    return np.concatenate([block.argmax(axis=1) for block in shares])


def _neighbours(
    data: TrainingSet, fit: NDArray[np.intp], held_out: NDArray[np.intp], k: int
) -> Neighbours:
    """Return the k nearest of the rows ``fit`` for each of the rows ``held_out``."""
    rows, norms = data.rows, data.squared_norms
    few = len(rows) <= MAX_GRAM_ROWS and 2 * len(fit) > len(rows)
    # Whole rows of the Gram matrix, with what is not fitted on put out of reach, are four times as
    # fast as picking columns.
    columns = np.arange(len(rows)) if few else fit
    others = np.setdiff1d(columns, fit)
    inside = data.gram if few else rows[fit]

    def nearest(start: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        block = held_out[start : start + BLOCK]
        squared = inside[block] if few else rows[block] @ inside.T
        squared *= -2.0
        squared += norms[columns]
        squared += norms[block, None]
        squared[:, others] = np.inf
        return smallest(squared, k)

    blocks = run_parallel(nearest, range(0, len(held_out), BLOCK), data.workers)
    order = np.concatenate([block[0] for block in blocks])
    return _as_neighbours(
        data.labels[columns], order, np.concatenate([block[1] for block in blocks])
    )


def _as_neighbours(
    labels: NDArray[np.int64], order: NDArray[np.intp], distances: NDArray[np.float32]
) -> Neighbours:
    """Return what is known of neighbours, from their places and squared distances, ascending."""
    squared = distances.astype(np.float64)
    squared[squared < SAME_IMAGE] = 0.0
    same = squared == 0.0
    with np.errstate(divide="ignore"):
        closeness = np.where(same.any(axis=1, keepdims=True), same, 1.0 / np.sqrt(squared))
    return Neighbours(labels[order], closeness)
