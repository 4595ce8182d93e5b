"""Support vector machines, linear and with a Gaussian kernel, on one shared Gram matrix."""

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads import calibration, grids, libsvm, ovo, ridge, sampling, stock_svc
from headstart.heads.family import Family
from headstart.heads.libsvm import Machine
from headstart.heads.ridge import LeastSquares
from headstart.heads.search import Candidate, FittedHead, Refit, finish, preference
from headstart.heads.training_set import (
    Fold,
    TrainingSet,
    mean_squared_distance,
    squared_distances,
)

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
        for _ in range(grids.MORE):
            best = min(candidates, key=preference)
            at_end = grids.sides(best.params, [each.to_json() for each in candidates])
            for name, side in at_end.items():
                values = grids.longer(grid[name], side, 1)
                new = values[:1] if values[1:] == tuple(grid[name]) else values[-1:]
                candidates += self._score({**grid, name: new}, data)
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
            Candidate({"C": c}, tuple(step.accuracy for step in steps))
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
            Candidate(
                {"C": c, "gamma": gamma},
                tuple(path[i].accuracy for path in paths[j * folds : (j + 1) * folds]),
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


class Step(NamedTuple):
    """The accuracy of one C on one fold; ``saturated`` means a larger C would change nothing."""

    accuracy: float
    saturated: bool


def _is_large(data: TrainingSet) -> bool:
    many = len(data.labels) > MAX_ROWS or len(np.unique(data.labels)) > MAX_CLASSES
    return many or data.streamed


def _fit(best: Candidate, data: TrainingSet) -> Refit:
    """Solve all rows on the shared kernel, and calibrate the stock SVC on the folds' values."""
    from headstart.heads.calibrated import CalibratedClassifier

    gamma = best.params.get("gamma")
    machine = _machine(data.gram, data, best.params["C"], gamma, np.arange(len(data.labels)))
    plain = {"kernel": "rbf" if gamma else "linear", "class_weight": data.class_weight}
    svc = stock_svc.stock(machine, data.rows, data.labels, {**plain, **best.params})
    fitted, parts = calibration.calibrate(calibration.PAIRS, _pairs(best.params, data), data)
    return _after_normaliser(data, CalibratedClassifier.of(svc, fitted), parts)


def _pairs(params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.float32]]:
    """Return each fold's pairwise values of the rows it holds out; NaN without a class's rows.

    They are computed for the chosen candidate alone: 100 classes have 4,950 pairs.
    """
    gram = data.gram  # before threads start
    codes = np.unique(data.labels)
    first, second = np.triu_indices(len(codes), 1)

    def values(fold: Fold) -> NDArray[np.float32]:
        fit, held_out = fold
        machine = _machine(gram, data, params["C"], params.get("gamma"), fit)
        kernel = kernel_of(gram, held_out, fit[machine.support_], params.get("gamma"))
        among = np.isin(codes, machine.classes_)
        pairs = np.full((len(held_out), len(first)), np.nan, np.float32)
        pairs[:, among[first] & among[second]] = ovo.pairs(machine, kernel)
        return pairs

    return run_parallel(values, data.folds, data.workers)


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
    gram = data.gram  # before threads start
    return run_parallel(lambda task: _path(gram, data, *task, costs), tasks, data.workers)


def _path(
    gram: NDArray[np.float32],
    data: TrainingSet,
    gamma: float | None,
    fold: Fold,
    costs: Sequence[float],
) -> list[Step]:
    """Try ascending values of C on one fold.

    C only bounds the dual coefficients. Once none reaches its bound, a larger C changes nothing.
    """
    fit, held_out = fold
    kernel, kernel_out = kernel_of(gram, fit, fit, gamma), kernel_of(gram, held_out, fit, gamma)
    path: list[Step] = []
    for c in costs:
        if not path or not path[-1].saturated:
            model = libsvm.fit(kernel, data.labels[fit], c, data.class_weight)
            votes = ovo.winners(
                ovo.pairs(model, kernel_out[:, model.support_]), len(model.classes_)
            )
            right = model.classes_[votes] == data.labels[held_out]
            # A class's coefficients are bounded by C times its weight.
            bound = c * float(model.class_weight_.min())
            saturated = bool(np.abs(model.dual_coef_).max(initial=0.0) < bound)
            step = Step(float(np.mean(right)), saturated)
        path.append(step)
    return path


def _machine(
    gram: NDArray[np.float32],
    data: TrainingSet,
    c: float,
    gamma: float | None,
    fit: NDArray[np.intp],
) -> Machine:
    return libsvm.fit(kernel_of(gram, fit, fit, gamma), data.labels[fit], c, data.class_weight)


def kernel_of(
    gram: NDArray[np.float32],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    gamma: float | None,
) -> NDArray[np.float64]:
    """Return the kernel values between rows, ``(a, b)``; linear if ``gamma`` is None."""
    if gamma is None:
        return gram[np.ix_(left, right)].astype(np.float64)
    kernel = squared_distances(gram, left, right)
    kernel *= np.float32(-gamma)
    return np.exp(kernel, out=kernel).astype(np.float64)
