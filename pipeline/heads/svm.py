"""Support vector machines, linear and with a Gaussian kernel, on one shared Gram matrix."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import (
    KERNEL_BYTES,
    Candidate,
    FittedHead,
    TrainingSet,
    climb,
    finish,
    run_parallel,
    squared_distances,
)

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class LinearSVMHead:
    """A linear support vector machine, one against one.

    Attributes:
        name: how users spell it.
        c_grid: costs of an error, ascending.
    """

    name: str = "linear-svm"
    c_grid: tuple[float, ...] = tuple(float(f"{c:.3g}") for c in np.logspace(-2, 2, 9))

    def search(self, data: TrainingSet) -> FittedHead:
        """Climb the C path over all folds, choose and refit; see `Family`."""
        started = time.perf_counter()
        gram = data.gram

        def evaluate(c: float) -> Candidate:
            folds = run_parallel(
                lambda fold: _path(gram, data.labels, fold, None, [c])[0],
                data.folds,
                _concurrent(data),
            )
            scores, saturated = zip(*folds, strict=True)
            return Candidate({"C": c}, scores, saturated=all(saturated))

        candidates = climb(self.c_grid, evaluate)
        return finish(self.name, candidates, lambda p: _calibrated(p, data), data, started)


@dataclass(frozen=True)
class RbfSVMHead:
    """A support vector machine with the kernel ``exp(-gamma |a - b|^2)``, one against one.

    Backbones differ in how close their rows lie to each other, so gamma is tried as multiples of
    one over the mean squared distance between two training rows, the scale on which the kernel
    changes at all (the idea of scikit-learn's ``gamma="scale"``).

    Attributes:
        name: how users spell it.
        c_grid: costs of an error, ascending.
        gamma_multiples: ascending, in units of one over the mean squared distance.
    """

    name: str = "rbf-svm"
    c_grid: tuple[float, ...] = (0.5, 2.0, 8.0, 32.0)
    gamma_multiples: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)

    def search(self, data: TrainingSet) -> FittedHead:
        """Score the whole grid on all folds, choose and refit; see `Family`."""
        started = time.perf_counter()
        gram = data.gram
        unit = 1.0 / _mean_squared_distance(data.rows)
        gammas = [float(f"{multiple * unit:.3g}") for multiple in self.gamma_multiples]
        tasks = [(gamma, fold) for gamma in gammas for fold in data.folds]
        paths = run_parallel(
            lambda task: _path(gram, data.labels, task[1], task[0], self.c_grid),
            tasks,
            _concurrent(data),
        )
        scores = np.array(paths)[:, :, 0].reshape(len(gammas), len(data.folds), len(self.c_grid))
        candidates = [
            Candidate({"C": c, "gamma": gamma}, tuple(scores[j, :, i].tolist()))
            for i, c in enumerate(self.c_grid)
            for j, gamma in enumerate(gammas)
        ]
        return finish(self.name, candidates, lambda p: _calibrated(p, data), data, started)


def _calibrated(params: dict[str, Any], data: TrainingSet) -> BaseEstimator:
    """Return the stock pipeline for ``{"C": ...}`` and perhaps ``"gamma"``, not yet fitted.

    A sigmoid fitted on the out-of-fold decision values of the same folds gives the probabilities:
    Platt, *Probabilistic Outputs for Support Vector Machines*, 1999.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import PredefinedSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    machine = SVC(kernel="rbf" if "gamma" in params else "linear", **params)
    folds = PredefinedSplit(data.fold)
    calibrated = CalibratedClassifierCV(machine, method="sigmoid", ensemble=False, cv=folds)
    return make_pipeline(Normalizer(), calibrated)


def _path(
    gram: NDArray[np.float32],
    labels: NDArray[np.int64],
    fold: Fold,
    gamma: float | None,
    costs: Sequence[float],
) -> list[tuple[float, bool]]:
    """Return accuracy on one fold for each C, and whether a larger C would change nothing.

    C only bounds the dual coefficients from above. Once none of them reaches its bound, the
    solution is the same for every larger C and need not be computed again.
    """
    from sklearn.svm import SVC

    fit, held_out = fold
    kernel, kernel_out = _kernel(gram, fit, fit, gamma), _kernel(gram, held_out, fit, gamma)
    path: list[tuple[float, bool]] = []
    for c in costs:
        if not path or not path[-1][1]:
            model = SVC(kernel="precomputed", C=c).fit(kernel, labels[fit])
            right = model.predict(kernel_out) == labels[held_out]
            step = float(np.mean(right)), bool(np.abs(model.dual_coef_).max() < c)
        path.append(step)
    return path


def _kernel(
    gram: NDArray[np.float32],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    gamma: float | None,
) -> NDArray[np.float64]:
    """Return the kernel between two sets of rows; libsvm wants float64."""
    if gamma is None:
        return gram[np.ix_(left, right)].astype(np.float64)
    kernel = squared_distances(gram, left, right)
    kernel *= -gamma
    return np.exp(kernel, out=kernel)


def _mean_squared_distance(rows: NDArray[np.float32]) -> float:
    """Return the mean over all pairs of rows, or 1 if all are the same."""
    mean = 2.0 * float(np.var(rows, axis=0, dtype=np.float64).sum())
    return mean if mean > 1e-9 else 1.0


def _concurrent(data: TrainingSet) -> int:
    """Return how many folds may hold their kernels at once."""
    return int(max(1, min(data.workers, KERNEL_BYTES // (8 * len(data.labels) ** 2))))
