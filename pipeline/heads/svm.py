"""Support vector machines, linear and with a Gaussian kernel, on one shared Gram matrix."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.calibration import calibrate
from pipeline.heads.search import (
    KERNEL_BYTES,
    Candidate,
    FittedHead,
    TrainingSet,
    climb,
    finish,
    squared_distances,
)
from pipeline.heads.threads import run_parallel

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class LinearSVMHead:
    """A linear support vector machine, one against one.

    Attributes:
        name: how users spell it.
        c_grid: costs of an error, ascending.
        patience: see `pipeline.heads.search.climb`.
    """

    name: str = "linear-svm"
    c_grid: tuple[float, ...] = tuple(float(f"{c:.3g}") for c in np.logspace(-2, 2, 9))
    patience: int | None = 2

    def search(self, data: TrainingSet) -> FittedHead:
        """Climb the C path over all folds, choose and refit; see `Family`."""
        started = time.perf_counter()
        gram = data.gram

        def evaluate(c: float) -> Candidate:
            steps = run_parallel(
                lambda fold: _path(gram, data, fold, None, [c])[0], data.folds, _concurrent(data)
            )
            return _candidate({"C": c}, steps, data)

        candidates = climb(self.c_grid, evaluate, self.patience)
        return finish(self.name, candidates, lambda best: _fit(best, data), data, started)


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
            lambda task: _path(gram, data, task[1], task[0], self.c_grid),
            tasks,
            _concurrent(data),
        )
        folds = len(data.folds)
        candidates = [
            _candidate(
                {"C": c, "gamma": gamma},
                [path[i] for path in paths[j * folds : (j + 1) * folds]],
                data,
            )
            for i, c in enumerate(self.c_grid)
            for j, gamma in enumerate(gammas)
        ]
        return finish(self.name, candidates, lambda best: _fit(best, data), data, started)


class Step(NamedTuple):
    """One C on one fold.

    Attributes:
        accuracy: on the rows held out.
        values: ``(held out, n_classes) float32``, the decision values, one against rest.
        saturated: a larger C would change nothing.
    """

    accuracy: float
    values: NDArray[np.float32]
    saturated: bool


def _candidate(params: dict[str, Any], steps: Sequence[Step], data: TrainingSet) -> Candidate:
    return Candidate(
        params,
        tuple(step.accuracy for step in steps),
        saturated=all(step.saturated for step in steps),
        outputs=data.gather([step.values for step in steps]),
    )


def _fit(best: Candidate, data: TrainingSet) -> tuple[BaseEstimator, NDArray[np.float64]]:
    """Fit the stock pipeline on all rows, and calibrate it on the out-of-fold decision values."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    assert best.outputs is not None
    kernel = "rbf" if "gamma" in best.params else "linear"
    machine = SVC(kernel=kernel, class_weight=data.class_weight, **best.params)
    machine.fit(data.rows, data.labels)
    calibrated, out_of_fold = calibrate(machine, best.outputs, data)
    return make_pipeline(Normalizer().fit(data.features[:1]), calibrated), out_of_fold


def _path(
    gram: NDArray[np.float32],
    data: TrainingSet,
    fold: Fold,
    gamma: float | None,
    costs: Sequence[float],
) -> list[Step]:
    """Go through growing values of C on one fold.

    C only bounds the dual coefficients from above. Once none of them reaches its bound, the
    solution is the same for every larger C and need not be computed again.
    """
    from sklearn.svm import SVC

    fit, held_out = fold
    kernel, kernel_out = _kernel(gram, fit, fit, gamma), _kernel(gram, held_out, fit, gamma)
    path: list[Step] = []
    for c in costs:
        if not path or not path[-1].saturated:
            model = SVC(kernel="precomputed", C=c, class_weight=data.class_weight)
            model.fit(kernel, data.labels[fit])
            right = model.predict(kernel_out) == data.labels[held_out]
            # The bound of a class is C times its weight; without weights, C.
            bound = c * float(model.class_weight_.min())
            step = Step(
                float(np.mean(right)),
                _decision_values(model, kernel_out, data.n_classes),
                bool(np.abs(model.dual_coef_).max() < bound),
            )
        path.append(step)
    return path


def _decision_values(
    model: BaseEstimator, kernel: NDArray[np.float64], n_classes: int
) -> NDArray[np.float32]:
    """Return one value for each class code; a class that was not there gets the row's least."""
    found = model.decision_function(kernel)
    if found.ndim == 1:
        found = np.stack([-found, found], axis=1)
    values = np.repeat(found.min(axis=1, keepdims=True), n_classes, axis=1)
    values[:, model.classes_] = found
    return values.astype(np.float32)


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
