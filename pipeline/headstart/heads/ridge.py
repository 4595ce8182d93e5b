"""Least-squares classifiers that replace the SVMs on large data.

The squared error replaces the hinge loss, one class against the rest (Suykens and Vandewalle,
*Least Squares Support Vector Machine Classifiers*, 1999). Its solution needs only sums over rows,
so memory stays below rows times features. The Gaussian kernel is approximated from randomly drawn
landmarks (Williams and Seeger, *Using the Nyström Method to Speed Up Kernel Machines*, 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.core.cholesky import Cholesky
from headstart.core.parallel.blas import run_parallel
from headstart.core.rows import Features
from headstart.heads.calibration import SCORES, calibrate
from headstart.heads.search import Candidate, Refit
from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

T = TypeVar("T")

LANDMARKS = 2000  # rows that describe the Gaussian kernel
BLOCK = 4096  # rows that a thread processes at once


@dataclass(frozen=True)
class _Sums:
    """Weighted sums for a ridge regression of ``t`` targets on ``m`` features."""

    weight: float
    rows: NDArray[np.float64]
    targets: NDArray[np.float64]
    squares: NDArray[np.float64]
    products: NDArray[np.float64]

    def less(self, other: _Sums) -> _Sums:
        return _Sums(
            self.weight - other.weight,
            self.rows - other.rows,
            self.targets - other.targets,
            self.squares - other.squares,
            self.products - other.products,
        )

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.weight + other.weight,
            self.rows + other.rows,
            self.targets + other.targets,
            self.squares + other.squares,
            self.products + other.products,
        )

    def solve(self, alphas: Sequence[float]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield coefficients ``(m, t)`` and intercepts ``(t,)`` for each penalty."""
        mean, target = self.rows / self.weight, self.targets / self.weight
        squares = self.squares - self.weight * np.outer(mean, mean)
        products = self.products - self.weight * np.outer(mean, target)
        # Rounding in float32 products can push eigenvalues this far below 0.
        slack = 1e-7 * float(np.trace(squares))
        for alpha in alphas:
            penalised = squares + max(alpha, slack) * np.eye(len(squares))
            coefficients = Cholesky(penalised).solve(products)
            yield coefficients, target - mean @ coefficients


@dataclass(frozen=True)
class LeastSquares:
    """Ridge regressions of the classes on ``design``, ``(n, m) float32``, for all folds."""

    design: Features
    data: TrainingSet

    def search(self, alphas: Sequence[float], params: dict[str, Any]) -> Iterator[Candidate]:
        """Yield a scored candidate for each penalty; ``params`` are its other parameters."""
        scores = self._each_fold(self._accuracies, alphas)
        for alpha, of_folds in zip(alphas, zip(*scores, strict=True), strict=True):
            yield Candidate({"alpha": alpha} | params, of_folds)

    def fit(self, best: Candidate) -> Refit:
        """Return the classifier of `design`, calibrated, and out-of-fold probabilities."""
        from sklearn.linear_model import RidgeClassifier

        from headstart.heads.calibrated import CalibratedClassifier

        labels, alpha = self.data.labels, best.params["alpha"]
        parts = self._each_fold(
            lambda held_out, solutions: self._values(held_out, *next(solutions)), [alpha]
        )
        coefficients, intercepts = next(self._total.solve([alpha]))
        # One row a class is enough to build the object, whose coefficients are then replaced.
        rows = np.unique(labels, return_index=True)[1]
        model = RidgeClassifier(alpha=alpha, class_weight=self.data.class_weight)
        model.fit(self.design[rows], labels[rows])
        model.coef_ = coefficients.T.astype(np.float32).reshape(model.coef_.shape)
        model.intercept_ = intercepts.astype(np.float32).reshape(np.shape(model.intercept_))
        fitted, probabilities = calibrate(SCORES, parts, self.data)
        return CalibratedClassifier.of(model, fitted), probabilities

    def answers(self, alpha: float) -> list[NDArray[np.float32]]:
        """Return the decision values of the rows that each fold holds out, for one penalty."""
        return [
            self._values(held_out, *next(self._sums(fit).solve([alpha])))
            for fit, held_out in self.data.folds
        ]

    def _each_fold(
        self,
        work: Callable[[NDArray[np.intp], Iterator[tuple[NDArray[Any], NDArray[Any]]]], T],
        alphas: Sequence[float],
    ) -> list[T]:
        """Return ``work(rows held out, solutions for each penalty)`` for every fold."""
        total, _ = self._total, self._codes  # before threads start
        tasks = [
            (rows, sums) for (_, rows), sums in zip(self.data.folds, self._held_out, strict=True)
        ]
        return run_parallel(
            lambda task: work(task[0], total.less(task[1]).solve(alphas)), tasks, self.data.workers
        )

    @cached_property
    def _held_out(self) -> list[_Sums]:
        return [self._sums(held_out) for _, held_out in self.data.folds]

    @cached_property
    def _total(self) -> _Sums:
        """The sums over all rows: those of the first division, and of what it always trains on."""
        division = np.atleast_2d(self.data.fold)[0]
        total = self._sums(np.flatnonzero(division < 0))
        for sums in self._held_out[: len(np.unique(division[division >= 0]))]:
            total = total.plus(sums)
        return total

    @cached_property
    def _codes(self) -> NDArray[np.int64]:
        return np.unique(self.data.labels)

    def _targets(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return 1 for the class and -1 for others: a column a class, or one for two classes."""
        codes = self._codes
        if len(codes) == 2:
            codes = codes[1:]
        hits = self.data.labels[rows][:, None] == codes
        return np.where(hits, np.float32(1), np.float32(-1))

    def _sums(self, rows: NDArray[np.intp]) -> _Sums:
        """Return the sums over rows, with class weights computed from all rows."""
        weights = self.data.weights(np.arange(len(self.data.labels)))

        def of_block(start: int) -> list[NDArray[np.float32]]:
            block = rows[start : start + BLOCK]
            design, targets, weight = self.design[block], self._targets(block), weights[block, None]
            weighted = design * weight
            return [
                weight.sum(axis=0, dtype=np.float64),
                weighted.sum(axis=0, dtype=np.float64),
                (targets * weight).sum(axis=0, dtype=np.float64),
                weighted.T @ design,
                weighted.T @ targets,
            ]

        m, t = self.design.shape[1], self._targets(rows[:0]).shape[1]
        sums = [np.zeros(shape) for shape in ((1,), (m,), (t,), (m, m), (m, t))]
        for starts in _chunks(range(0, len(rows), BLOCK), self.data.workers):
            for parts in run_parallel(of_block, starts, self.data.workers):
                for total, part in zip(sums, parts, strict=True):
                    total += part
        return _Sums(float(sums[0][0]), *sums[1:])

    def _accuracies(
        self, rows: NDArray[np.intp], solutions: Iterator[tuple[NDArray[Any], NDArray[Any]]]
    ) -> list[float]:
        solved, right = list(solutions), []
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            design, true = self.design[block], self.data.labels[block]
            answers = (self._scores(design, *solution).argmax(axis=1) for solution in solved)
            right.append([np.count_nonzero(answer == true) for answer in answers])
        return [float(hits / len(rows)) for hits in np.sum(right, axis=0)]

    def _values(
        self, rows: NDArray[np.intp], coefficients: NDArray[Any], intercepts: NDArray[Any]
    ) -> NDArray[np.float32]:
        values = np.empty((len(rows), self.data.n_classes), np.float32)
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            values[block] = self._scores(self.design[rows[block]], coefficients, intercepts)
        return values

    def _scores(
        self, design: NDArray[np.float32], coefficients: NDArray[Any], intercepts: NDArray[Any]
    ) -> NDArray[np.float32]:
        codes = self._codes
        decisions = design @ coefficients.astype(np.float32)
        decisions += intercepts.astype(np.float32)
        if len(codes) == 2:
            decisions = np.hstack([-decisions, decisions])
        values = np.repeat(decisions.min(axis=1, keepdims=True), self.data.n_classes, axis=1)
        values[:, codes] = decisions
        return values


def landmarks(data: TrainingSet, gamma: float) -> BaseEstimator:
    """Return the stock ``Nystroem`` transformer of the normalised rows, fitted.

    It is fitted on its landmarks alone, in float64, because it divides by square roots of small
    eigenvalues. These come from the symmetric matrix's own decomposition; scikit-learn's general
    one takes four times as long.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.metrics.pairwise import rbf_kernel

    n = len(data.labels)
    drawn = np.random.default_rng(data.seed).choice(n, min(LANDMARKS, n), replace=False)
    points = data.rows[np.sort(drawn)].astype(np.float64)
    values, vectors = np.linalg.eigh(rbf_kernel(points, gamma=gamma))
    model = Nystroem(kernel="rbf", gamma=gamma, n_components=1, random_state=data.seed)
    model.fit(points[:1]).set_params(n_components=len(points))  # builds the object
    model.normalization_ = (vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
    model.components_, model.component_indices_ = points, np.arange(len(points))
    return model


def describe(transformer: BaseEstimator, data: TrainingSet) -> NDArray[np.float32]:
    """Transform all normalised rows, block by block, to ``(n, m) float32``."""
    design = np.empty((len(data.rows), len(transformer.component_indices_)), np.float32)

    def fill(start: int) -> None:
        design[start : start + BLOCK] = transformer.transform(data.rows[start : start + BLOCK])

    run_parallel(fill, range(0, len(design), BLOCK), data.workers)
    return design


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
