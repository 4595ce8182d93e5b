"""Support vector machines, linear and with a Gaussian kernel, on one shared Gram matrix."""

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads import calibration, grids, kernels, libsvm, ovo, ridge, sampling, stock_svc
from headstart.heads.family import Family
from headstart.heads.ridge import LeastSquares
from headstart.heads.search import (
    Candidate,
    FittedHead,
    Refit,
    finish,
    forget_all_but_best,
    preference,
)
from headstart.heads.svm_path import Step, path
from headstart.heads.training_set import Fold, TrainingSet, mean_squared_distance

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

C_GRID = tuple(float(f"{c:.3g}") for c in np.logspace(-2, 2, 9))
# Beyond these, `headstart.heads.ridge` replaces libsvm, whose time grows with the square of the
# rows: on 100 overlapping classes a fit on 3,200 rows takes 3.5 s of a core for a linear grid and
# about 2 s a gamma; the linear search at 10,000 took 113 s on two cores, and that of the Gaussian
# kernel was given up. 256 classes have 32,640 pairs, each with its own SVM.
MAX_ROWS = 5000
MAX_CLASSES = 256
# Rows of a store on disk that the Gaussian kernel is fitted on: 2,000 kernel values a row take
# 10 MFLOP, in every pass.
SAMPLED = 50_000
KEPT = 1_000_000  # values of a candidate in memory; beyond, the chosen one is solved again
Grid = Mapping[str, Sequence[float]]

TYPICAL_SLOPE = 6.0  # of pairwise values, for labels without a fitted calibration


class _SVM(Family, ABC):
    def search_further(self, data: TrainingSet) -> FittedHead:
        """Add one value at a time to the grid, and score the candidates that are new; see `Family`.

        The chosen machine is fitted once, at the end.
        """
        if _is_large(data):
            return super().search_further(data)
        started = time.perf_counter()
        grid, candidates = dict(self.grid), self._score(self.grid, data)
        forget_all_but_best(candidates)
        for _ in range(grids.MORE):
            best = min(candidates, key=preference)
            at_end = grids.sides(best.params, [each.to_json() for each in candidates])
            for name, side in at_end.items():
                values = grids.longer(grid[name], side, 1)
                new = values[:1] if values[1:] == tuple(grid[name]) else values[-1:]
                candidates += self._score({**grid, name: new}, data)
                forget_all_but_best(candidates)
                grid[name] = values
            if not at_end:
                break
        candidates.sort(key=lambda each: tuple(each.params.values()))
        return finish(self, candidates, lambda best: _fit(best, data), data, started)

    @abstractmethod
    def _score(self, grid: Grid, data: TrainingSet) -> list[Candidate]:
        """Return the candidates of a grid, scored on all folds."""

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return each class's coupled or least-squares values; see `Family`."""
        gamma = params.get("gamma")
        if "alpha" in params:
            design = data.rows
            if gamma is not None:
                design = ridge.describe(ridge.landmarks(data, gamma), data)
            return list(LeastSquares(design, data).answers(params["alpha"]))
        return [_by_code(values, data, -np.inf) for values in _pairs(params, data)]

    def to_onnx(self, estimator: BaseEstimator, dim: int) -> Any:  # noqa: ANN401 - ModelProto
        """Convert to a few matrix products; see `Family`."""
        from headstart.heads.onnx_graphs import linear, svm

        exact = type(estimator[-1].estimator).__name__ == "SVC"
        return (svm if exact else linear).convert(estimator, dim)


@dataclass(frozen=True)
class LinearSVMHead(_SVM):
    """A linear support vector machine, one against one; least squares for large data.

    ``alpha_grid`` holds strengths of the least-squares penalty, descending.
    """

    name: str = "linear-svm"
    title: str = "linear SVM"
    grid: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"C": C_GRID})
    alpha_grid: tuple[float, ...] = tuple(float(f"{a:.3g}") for a in np.logspace(3, -2, 11))

    def search(self, data: TrainingSet) -> FittedHead:
        """Score the whole grid on all folds, choose one and refit; see `Family`."""
        started = time.perf_counter()
        if _is_large(data):
            return self._least_squares(data, started)
        candidates = self._score(self.grid, data)
        return finish(self, candidates, lambda best: _fit(best, data), data, started)

    def _score(self, grid: Grid, data: TrainingSet) -> list[Candidate]:
        paths = _paths(data, [(None, fold) for fold in data.folds], grid["C"])
        return [
            _candidate({"C": c}, steps, data)
            for c, steps in zip(grid["C"], zip(*paths, strict=True), strict=True)
        ]

    def _least_squares(self, data: TrainingSet, started: float) -> FittedHead:
        machine = LeastSquares(data.rows, data)
        candidates = list(machine.search(self.alpha_grid, {}))

        def fit(best: Candidate) -> Refit:
            return _after_normaliser(data, *machine.fit(best))

        return finish(self, candidates, fit, data, started, "least squares, one against rest")


@dataclass(frozen=True)
class RbfSVMHead(_SVM):
    """A support vector machine with the kernel ``exp(-gamma |a - b|^2)``, one against one.

    Backbones differ in how close their rows lie, so the grid's ``gamma`` is in units of 1 / mean
    squared distance between training rows (the idea of scikit-learn's ``gamma="scale"``). For large
    data, least squares on the Nyström approximation; ``alpha_grid`` holds its penalties,
    descending.
    """

    name: str = "rbf-svm"
    title: str = "RBF SVM"
    grid: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"C": (0.5, 2.0, 8.0, 32.0), "gamma": (0.25, 0.5, 1.0, 2.0)}
    )
    alpha_grid: tuple[float, ...] = (1024.0, 256.0, 64.0, 16.0, 4.0, 1.0, 0.25, 0.0625)

    def search(self, data: TrainingSet) -> FittedHead:
        """Score the whole grid on all folds, choose one and refit; see `Family`."""
        started = time.perf_counter()
        if data.streamed:
            return sampling.on_part(self.search, data, SAMPLED)
        if _is_large(data):
            return self._least_squares(data, _gammas(self.grid, data), started)
        candidates = self._score(self.grid, data)
        return finish(self, candidates, lambda best: _fit(best, data), data, started)

    def _score(self, grid: Grid, data: TrainingSet) -> list[Candidate]:
        gammas, folds = _gammas(grid, data), len(data.folds)
        paths = _paths(data, [(gamma, fold) for gamma in gammas for fold in data.folds], grid["C"])
        return [
            _candidate(
                {"C": c, "gamma": gamma},
                [steps[i] for steps in paths[j * folds : (j + 1) * folds]],
                data,
            )
            for i, c in enumerate(grid["C"])
            for j, gamma in enumerate(gammas)
        ]

    def _least_squares(
        self, data: TrainingSet, gammas: Sequence[float], started: float
    ) -> FittedHead:
        def machine(part: TrainingSet, gamma: float) -> tuple[BaseEstimator, LeastSquares]:
            transformer = ridge.landmarks(part, gamma)
            return transformer, LeastSquares(ridge.describe(transformer, part), part)

        final = functools.cache(lambda gamma: machine(data, gamma))

        def score(squares: LeastSquares, gamma: float) -> list[Candidate]:
            rest = {"gamma": gamma, "n_components": squares.design.shape[1]}
            return list(squares.search(self.alpha_grid, rest))

        def tune(part: TrainingSet) -> list[Candidate]:
            return [each for gamma in gammas for each in score(machine(part, gamma)[1], gamma)]

        def settle(params: dict[str, Any]) -> list[Candidate]:
            return score(final(params["gamma"])[1], params["gamma"])

        def fit(best: Candidate) -> Refit:
            transformer, squares = final(best.params["gamma"])
            return _after_normaliser(data, *squares.fit(best), transformer)

        candidates, best, about = sampling.search(data, tune, settle)
        landmarks = best.params["n_components"]
        how = f"Nyström, {landmarks:,} landmarks; least squares, one against rest"
        how += f"; {about}" if about else ""
        return finish(self, candidates, fit, data, started, how, best)


def _gammas(grid: Grid, data: TrainingSet) -> list[float]:
    unit = 1.0 / mean_squared_distance(data.rows)
    return [float(f"{multiple * unit:.3g}") for multiple in grid["gamma"]]


def _is_large(data: TrainingSet) -> bool:
    many = len(data.labels) > MAX_ROWS or len(np.unique(data.labels)) > MAX_CLASSES
    return many or data.streamed


def _fit(best: Candidate, data: TrainingSet) -> Refit:
    """Solve all rows on the shared kernel, and calibrate the stock SVC on the folds' values."""
    from headstart.heads.calibrated import CalibratedClassifier

    gamma, everything = best.params.get("gamma"), np.arange(len(data.labels))
    kernel = kernels.kernel_of(data, everything, everything, gamma)
    machine = libsvm.fit(kernel, data.labels, best.params["C"], data.class_weight)
    plain = {"kernel": "rbf" if gamma else "linear", "class_weight": data.class_weight}
    svc = stock_svc.stock(machine, data.rows, data.labels, {**plain, **best.params})
    values = best.outputs or _pairs(best.params, data)
    fitted, parts = calibration.calibrate(calibration.PAIRS, values, data)
    return _after_normaliser(data, CalibratedClassifier.of(svc, fitted), parts)


def _pairs(params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
    """Return each fold's pairwise values of the rows it holds out; see `Step`."""
    tasks = [(params.get("gamma"), fold) for fold in data.folds]
    return [steps[0].values for steps in _paths(data, tasks, [params["C"]])]


def _by_code(values: NDArray[np.float32], data: TrainingSet, rest: float) -> NDArray[np.floating]:
    codes = np.unique(data.labels)
    coupled = np.full((len(values), data.n_classes), rest)
    coupled[:, codes] = ovo.coupled(values, len(codes), TYPICAL_SLOPE)
    return coupled


def _after_normaliser(
    data: TrainingSet,
    classifier: BaseEstimator,
    parts: Sequence[NDArray[np.floating]],
    *before: BaseEstimator,
) -> Refit:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*data.steps(), *before, classifier), parts


def _paths(
    data: TrainingSet, tasks: Sequence[tuple[float | None, Fold]], costs: Sequence[float]
) -> list[list[Step]]:
    """Return the path of every gamma (None for a linear kernel) on every fold."""
    kernels.prepare(data, tasks[0][0])
    return run_parallel(lambda task: path(data, *task, costs), tasks, data.workers)


def _candidate(params: dict[str, Any], steps: Sequence[Step], data: TrainingSet) -> Candidate:
    """Return a candidate, with its values if they are few."""
    cells = len(data.labels) * steps[0].values.shape[1]
    values = [step.values for step in steps] if cells <= KEPT else None
    return Candidate(params, tuple(step.accuracy for step in steps), outputs=values)
