"""Kernel ridge regression on the classes, with a Gaussian kernel on the shared Gram matrix.

Saunders, Gammerman and Vovk, *Ridge Regression Learning Algorithm in Dual Variables*, ICML 1998;
as a classifier it is the least-squares SVM of Suykens and Vandewalle, 1999. One inverse serves all
folds: with ``C = (K + alpha I)^-1``, the residuals of a fold left out are ``C_ff^-1 (C y)_f``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.cholesky import Cholesky
from headstart.core.parallel.blas import run_parallel
from headstart.heads import calibration, grids, kernels, sampling
from headstart.heads.family import Family
from headstart.heads.scoring import accuracy
from headstart.heads.search import Candidate, FittedHead, Refit, finish, preference
from headstart.heads.training_set import (
    MAX_GRAM_ROWS,
    SAME_IMAGE,
    Fold,
    TrainingSet,
    mean_squared_distance,
)

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_ROWS = 5000  # more are sampled: an inverse takes the cube of the rows
BLOCK = 1024  # rows that are answered at once


@dataclass(frozen=True)
class KernelRidgeHead(Family):
    """Kernel ridge regression with the kernel ``exp(-gamma |a - b|^2)``.

    The grid's ``gamma`` is in units of 1 / mean squared distance, as that of
    `headstart.heads.svm.RbfSVMHead`. With few images a class among many it is worse than the
    others, and cross-validation says so.
    """

    name: str = "kernel-ridge"
    title: str = "kernel ridge"
    grid: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"alpha": (0.3, 0.1, 0.03), "gamma": (1.0, 2.0)}
    )
    keeps_rows: bool = True

    def search(self, data: TrainingSet) -> FittedHead:
        """Score the whole grid on all folds, choose one and refit; see `Family`.

        Many rows are sampled. The rest, unless on disk, get answers of the folds' models too.
        """
        if not data.streamed and len(data.labels) <= MAX_ROWS:
            return self._search(data)
        head = sampling.on_part(self._search, data, MAX_ROWS)
        return head if data.streamed else self._with_the_rest(head, data)

    def search_further(self, data: TrainingSet) -> FittedHead:
        """Search, and add values where the best one lies at an end of the grid; see `Family`."""
        exact = not data.streamed and len(data.labels) <= MAX_ROWS
        return self._search(data, grids.MORE) if exact else self.search(data)

    def _search(self, data: TrainingSet, more: int = 0) -> FittedHead:
        started = time.perf_counter()
        unit = 1.0 / mean_squared_distance(data.rows)
        gammas = [float(f"{multiple * unit:.3g}") for multiple in self.grid["gamma"]]
        grid = {"alpha": self.grid["alpha"], "gamma": gammas}
        kernels.prepare(data, gammas[0])

        def evaluate(params: dict[str, Any]) -> Candidate:
            parts = left_out(params, data)
            scores = tuple(
                accuracy(data.labels[rows], part.argmax(axis=1))
                for part, (_, rows) in zip(parts, data.folds, strict=True)
            )
            return Candidate(params, scores, outputs=parts)

        # Every alpha with the first gamma, then the other gammas with the best alpha.
        tried = [{"alpha": alpha, "gamma": gammas[0]} for alpha in self.grid["alpha"]]
        candidates = run_parallel(evaluate, tried, data.workers)
        alpha = min(candidates, key=preference).params["alpha"]
        others = [{"alpha": alpha, "gamma": gamma} for gamma in gammas[1:]]
        candidates += run_parallel(evaluate, others, data.workers)
        for _ in range(more):
            params = min(candidates, key=preference).params
            at_end = grids.sides(params, [each.to_json() for each in candidates])
            for name, side in at_end.items():
                grid[name] = grids.longer(grid[name], side, 1)
                new = {*grid[name]} - {each.params[name] for each in candidates}
                longer = [{**params, name: value} for value in new]
                candidates += run_parallel(evaluate, longer, data.workers)
            if not at_end:
                break

        def fit(best: Candidate) -> Refit:
            assert best.outputs is not None
            fitted, parts = calibration.calibrate(calibration.SHARES, best.outputs, data)
            return _fit(best.params, fitted, data), parts

        return finish(self, candidates, fit, data, started)

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return the fitted targets, of `MAX_ROWS` rows where there are more; see `Family`."""
        if len(data.labels) <= MAX_GRAM_ROWS:
            kernels.prepare(data, params["gamma"])
        division = np.atleast_2d(data.fold)[0]

        def answer(fold: Fold) -> NDArray[np.float32]:
            fit = sampling.stratified(data, division, fold[0], MAX_ROWS)
            return _solved(params, data, fit, fold[1])

        return run_parallel(answer, data.folds, data.workers)

    def _with_the_rest(self, head: FittedHead, data: TrainingSet) -> FittedHead:
        """Fill the out-of-fold probabilities of the rows that `sampling.on_part` left out."""
        used = np.zeros(len(data.labels), bool)
        used[sampling.sample(data, MAX_ROWS)] = True
        rest = data.divided(
            [(fit[used[fit]], held_out[~used[held_out]]) for fit, held_out in data.folds]
        )
        classifier = head.estimator[-1]
        parts = []
        for values in self.answers(head.params, rest):
            part = np.zeros((len(values), data.n_classes))
            part[:, classifier.classes_] = classifier.calibration.probabilities(
                values[:, classifier.classes_]
            )
            parts.append(part)
        out_of_fold = np.where(used[:, None], head.out_of_fold, rest.gather(parts))
        return dataclasses.replace(head, out_of_fold=out_of_fold)

    def to_onnx(self, estimator: BaseEstimator, dim: int) -> Any:  # noqa: ANN401 - ModelProto
        """Convert to two matrix products; see `Family`."""
        from headstart.heads.onnx_graphs import kernel_ridge

        return kernel_ridge.convert(estimator, dim)


def _kernel(
    data: TrainingSet, left: NDArray[np.intp], right: NDArray[np.intp], gamma: float
) -> NDArray[np.float32]:
    if len(data.labels) <= MAX_GRAM_ROWS:
        return kernels.kernel_of(data, left, right, gamma, np.float32)
    kernel: NDArray[np.float32] = data.rows[left] @ data.rows[right].T
    kernel *= np.float32(-2)
    kernel += data.squared_norms[left, None]
    kernel += data.squared_norms[right]
    kernel[kernel < SAME_IMAGE] = 0.0
    kernel *= np.float32(-gamma)
    return np.exp(kernel, out=kernel)


def _targets(data: TrainingSet, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return 1 for the class and 0 for others, ``(n, n_classes)``."""
    targets: NDArray[np.float32] = np.zeros((len(rows), data.n_classes), np.float32)
    targets[np.arange(len(rows)), data.labels[rows]] = 1
    return targets


def _regularised(
    params: dict[str, Any], data: TrainingSet, rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the kernel of rows plus alpha, more where a row has less weight, ``(n, n)``."""
    kernel = _kernel(data, rows, rows, params["gamma"])
    kernel[np.diag_indices_from(kernel)] += params["alpha"] / data.weights(rows)[rows]
    return kernel


def left_out(params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.float32]]:
    """Return the values of the rows that each fold holds out, by one inverse for all folds."""
    everything = np.arange(len(data.labels))
    division = np.atleast_2d(data.fold)[0]
    single = len(np.unique(division)) != len(np.unique(division[division >= 0]))
    if data.class_weight is not None or single:  # weights of their own, or one fold alone
        return [_solved(params, data, *fold) for fold in data.folds]
    inverse = Cholesky(_regularised(params, data, everything)).inverse()
    targets = _targets(data, everything)
    solution = inverse @ targets
    left_out: list[NDArray[np.float32]] = [
        targets[rows] - np.linalg.solve(inverse[np.ix_(rows, rows)], solution[rows])
        for _, rows in data.folds
    ]
    return left_out


def _solved(
    params: dict[str, Any], data: TrainingSet, fit: NDArray[np.intp], held_out: NDArray[np.intp]
) -> NDArray[np.float32]:
    solution = Cholesky(_regularised(params, data, fit)).solve(_targets(data, fit))
    values = np.empty((len(held_out), data.n_classes), np.float32)
    for start in range(0, len(held_out), BLOCK):
        rows = held_out[start : start + BLOCK]
        values[start : start + BLOCK] = _kernel(data, rows, fit, params["gamma"]) @ solution
    return values


def _fit(
    params: dict[str, Any], fitted: calibration.Calibration, data: TrainingSet
) -> BaseEstimator:
    """Return the stock regression; its own ``fit`` would compute the kernel again, in float64."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.pipeline import make_pipeline

    from headstart.heads.calibrated import CalibratedClassifier

    codes, rows = np.unique(data.labels), data.rows.astype(np.float64)
    dual = _dual(params, data)[:, codes]
    model = KernelRidge(kernel="rbf", **params).fit(rows[:1], dual[:1])
    model.X_fit_, model.dual_coef_ = rows, dual
    classifier = CalibratedClassifier.of(model, fitted, codes)
    return make_pipeline(*data.steps(), classifier)


def _dual(params: dict[str, Any], data: TrainingSet) -> NDArray[np.float64]:
    """Solve all rows in float32, and once more for what is left in float64."""
    kernel = _regularised(params, data, np.arange(len(data.labels)))
    targets = _targets(data, np.arange(len(data.labels)))
    factor = Cholesky(kernel.copy())
    dual = factor.solve(targets).astype(np.float64)
    starts = range(0, len(kernel), BLOCK)
    products = [kernel[start : start + BLOCK].astype(np.float64) @ dual for start in starts]
    residual = targets - np.concatenate(products)
    dual += factor.solve(residual.astype(np.float32))
    return np.asarray(dual, np.float64)
