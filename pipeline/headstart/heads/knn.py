"""k-nearest-neighbour heads: one sort gives the neighbours for every k and every weight.

Up to some thousands of rows, distances come from the Gram matrix that the SVMs share. With more,
they are computed block by block, so the full distance matrix never has to fit in memory. For a
store on disk, a stratified sample of the rows is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads import sampling
from headstart.heads.calibration import SHARES, calibrate, least_loss
from headstart.heads.family import Family
from headstart.heads.scoring import accuracy
from headstart.heads.search import Candidate, FittedHead, Refit, finish, preference
from headstart.heads.training_set import MAX_GRAM_ROWS, TrainingSet, mean_squared_distance

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

BLOCK = 512  # rows that a thread computes distances of at once
REFERENCES = 50_000  # rows of a store on disk that can be neighbours; the model file holds them
GROUP = 16  # columns a minimum bounds; see `smallest`
CELLS = 1 << 23  # pairs of image and class whose votes are counted at once


@dataclass(frozen=True)
class GaussianWeights:
    """Votes that fall with the distance ``d``, as ``exp(-gamma d^2)``.

    A `KNeighborsClassifier` takes it as ``weights``. Only ratios count, so the nearest has weight
    1 and no row is too far away to vote.
    """

    gamma: float

    def __call__(self, distances: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the weights of distances, ``(m, k)``, nearest first."""
        return self.of_squares(np.square(distances, dtype=np.float64))

    def of_squares(self, squared: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the weights of squared distances, ``(m, k)``, nearest first."""
        weights: NDArray[np.float64] = np.exp(-self.gamma * (squared - squared[:, :1]))
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
        weights = GaussianWeights(gamma)
        for start in range(0, len(self.labels), step):
            labels = self.labels[start : start + step, :k]
            weight = weights.of_squares(self.squared[start : start + step, :k].astype(np.float64))
            cells = np.arange(len(labels))[:, None] * n_classes + labels
            size = len(labels) * n_classes
            totals = np.bincount(cells.ravel(), weight.ravel(), minlength=size)
            totals = totals.reshape(len(labels), n_classes)
            yield totals / totals.sum(axis=1, keepdims=True)

    def all_shares(self, k: int, gamma: float, n_classes: int) -> NDArray[np.float32]:
        """Return `shares` of all rows, ``(m, n_classes)``."""
        blocks = self.shares(k, gamma, n_classes)
        return np.concatenate([block.astype(np.float32) for block in blocks])


@dataclass(frozen=True)
class NearestNeighboursHead(Family):
    """A vote of the k nearest training images by cosine, the Euclidean order of rows of norm 1.

    Near rows have more weight, see `GaussianWeights`; the grid's ``gamma`` is in units of 1 / mean
    squared distance, as that of `headstart.heads.svm.RbfSVMHead`. k and gamma are chosen by
    out-of-fold log loss after smoothing and temperature scaling. Values of k larger than a fold are
    skipped. The calibration smooths the votes, so that no class has probability 0.
    Source: Cover and Hart, *Nearest Neighbor Pattern Classification*, 1967; the weights are those
    of Nadaraya and Watson, 1964.
    """

    name: str = "knn"
    title: str = "kNN"
    grid: Mapping[str, Sequence[Any]] = field(
        default_factory=lambda: {"n_neighbors": (40, 20, 10, 5, 3, 1), "gamma": (5.0, 10.0, 20.0)}
    )
    keeps_rows: bool = True

    def search(self, data: TrainingSet) -> FittedHead:
        """Find each fold's neighbours once and score every candidate; see `Family`."""
        started = time.perf_counter()
        if data.streamed:
            return sampling.on_part(self.search, data, REFERENCES)
        fewest = min(len(fit) for fit, _ in data.folds)
        ks = [k for k in self.grid["n_neighbors"] if k <= fewest] or [fewest]
        nearest = [_neighbours(data, fit, held_out, max(ks)) for fit, held_out in data.folds]

        def fit(best: Candidate) -> Refit:
            k, gamma = best.params["n_neighbors"], best.params["gamma"]
            parts = [near.all_shares(k, gamma, data.n_classes) for near in nearest]
            return self._fit(best.params, parts, data)

        unit = 1.0 / mean_squared_distance(data.rows)
        gammas = [float(f"{multiple * unit:.3g}") for multiple in self.grid["gamma"]]
        # Every k with the middle gamma, then the other gammas with the best k.
        middle = gammas.pop(len(gammas) // 2)
        candidates = _scored(nearest, [(k, middle) for k in ks], data)
        k = min(candidates, key=preference).params["n_neighbors"]
        candidates += _scored(nearest, [(k, gamma) for gamma in gammas], data)
        return finish(self, candidates, fit, data, started)

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return shares of the votes; see `Family`."""
        answers = []
        for fit, held_out in data.folds:
            k = min(params["n_neighbors"], len(fit))
            near = _neighbours(data, fit, held_out, k)
            answers.append(near.all_shares(k, params["gamma"], data.n_classes))
        return list(answers)

    def to_onnx(self, estimator: BaseEstimator, dim: int) -> Any:  # noqa: ANN401 - ModelProto
        """Convert the vote to a few matrix products; see `Family`."""
        from headstart.heads.onnx_graphs import knn

        return knn.convert(estimator, dim)

    def _fit(
        self, params: dict[str, Any], parts: Sequence[NDArray[np.float32]], data: TrainingSet
    ) -> Refit:
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline

        from headstart.heads.calibrated import CalibratedClassifier

        classifier = KNeighborsClassifier(
            params["n_neighbors"],
            weights=GaussianWeights(params["gamma"]),
            metric="euclidean",
            algorithm="brute",
        )
        classifier.fit(data.rows, data.labels)
        fitted, probabilities = calibrate(SHARES, parts, data)
        calibrated = CalibratedClassifier.of(classifier, fitted)
        return make_pipeline(*data.steps(), calibrated), probabilities


def _scored(
    nearest: Sequence[Neighbours], tried: Sequence[tuple[int, float]], data: TrainingSet
) -> list[Candidate]:
    def evaluate(candidate: tuple[int, float]) -> Candidate:
        k, gamma = candidate
        params = {"n_neighbors": k, "gamma": gamma}
        if len(data.labels) * data.n_classes > CELLS:  # too many votes to keep
            right = [_hits(near.shares(k, gamma, data.n_classes), true) for near, true in folds]
            return Candidate(params, tuple(right))
        parts = [near.all_shares(k, gamma, data.n_classes) for near, _ in folds]
        right = [_hits([part], true) for part, (_, true) in zip(parts, folds, strict=True)]
        loss = least_loss(SHARES, parts, data)
        return Candidate(params, tuple(right), loss=loss)

    folds = [
        (near, data.labels[held_out])
        for near, (_, held_out) in zip(nearest, data.folds, strict=True)
    ]
    return run_parallel(evaluate, tried, data.workers)


def _hits(shares: Iterable[NDArray[np.floating]], true: NDArray[np.int64]) -> float:
    """Return the accuracy of the largest shares; ties go to the lowest code."""
    return accuracy(true, np.concatenate([block.argmax(axis=1) for block in shares]))


def _neighbours(
    data: TrainingSet, fit: NDArray[np.intp], held_out: NDArray[np.intp], k: int
) -> Neighbours:
    rows, squared = nearest_rows(data, fit, held_out, k)
    return Neighbours(data.labels[rows], squared)


def nearest_rows(
    data: TrainingSet, fit: NDArray[np.intp], held_out: NDArray[np.intp], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the k nearest of the rows to fit on, and squared distances, ``(held out, k)`` each."""
    rows, norms = data.rows, data.squared_norms
    few = len(rows) <= MAX_GRAM_ROWS and 2 * len(fit) > len(rows)
    # Reading whole rows of the Gram matrix and masking the others is four times as fast as
    # picking columns.
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
    return columns[order], np.concatenate([block[1] for block in blocks])


def has_many(model: Any) -> bool:  # noqa: ANN401 - a scikit-learn classifier
    """Say whether a classifier is a vote of more rows than scikit-learn should be asked about.

    It computes their distances in float64, which takes several times as long as `votes`.
    """
    weights = getattr(model, "weights", None)
    return isinstance(weights, GaussianWeights) and len(model._fit_X) > MAX_GRAM_ROWS


def votes(
    model: Any,  # noqa: ANN401 - a KNeighborsClassifier of codes, weighted by `GaussianWeights`
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
        found = Neighbours(model._y[columns], np.maximum(nearest, 0))
        shares.append(found.all_shares(k, model.weights.gamma, n_classes))
    return np.concatenate(shares) if shares else np.zeros((0, n_classes), np.float32)


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
