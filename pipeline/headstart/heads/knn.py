"""k-nearest-neighbour heads: one sort gives the neighbours for every k and every weight.

Up to some thousands of rows, distances come from the Gram matrix that the SVMs share. With more,
they are computed block by block, so the full distance matrix never has to fit in memory. For a
store on disk, a stratified sample of the rows is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
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
from headstart.heads.votes import BLOCK, CELLS, Neighbours, gaussian, smallest

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

REFERENCES = 50_000  # rows of a store on disk that can be neighbours; the model file holds them


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
        return gaussian(squared, self.gamma)


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
