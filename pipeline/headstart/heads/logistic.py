"""Multinomial logistic regression on normalised rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.rows import Features
from headstart.heads import sampling
from headstart.heads.calibration import SCORES, Calibration, calibrate, least_loss
from headstart.heads.family import Family
from headstart.heads.principal_axes import RowSpace
from headstart.heads.scoring import accuracy
from headstart.heads.search import Candidate, FittedHead, Refit, climb, finish
from headstart.heads.softmax import Array, Problem
from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

C_GRID = tuple(float(f"{c:.3g}") for c in np.logspace(-2, 4, 13))
MAX_ITER = 2000
AHEAD = 0.8  # of the step from one solution of a path to the next, by which the third is sought
FEW = 4  # a fold this many times smaller than all rows is solved alone
PROBABILITIES = 250_000_000  # in memory at once, 1 GB; folds are solved in turn beyond that


@dataclass(frozen=True)
class LogisticRegressionHead(Family):
    """Logistic regression with an L2 penalty.

    C is chosen by out-of-fold log loss after temperature scaling: accuracy hardly tells values of C
    apart, and a small C with a temperature is better calibrated than a large C without. Temperature
    and biases go into the coefficients. For ``patience`` see `headstart.heads.search.climb`.
    """

    name: str = "logistic-regression"
    title: str = "logistic regression"
    grid: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"C": C_GRID})
    patience: int | None = 1

    def search(self, data: TrainingSet) -> FittedHead:
        """Climb the C path over all folds, choose one and refit; see `Family`."""
        started = time.perf_counter()

        def tune(part: TrainingSet) -> list[Candidate]:
            path = Path(part)
            tried = climb(self.grid["C"], path.evaluate, self.patience)
            starts.update(path.means if part is data else {})
            return tried

        starts: dict[float, Array] = {}  # for the final fit, by C

        def settle(params: dict[str, Any]) -> list[Candidate]:
            path = Path(data)
            if data.streamed:  # each pass reads all rows, so start close to the solution
                path.begin(_folds_of(sampling.tuning_part(data), params["C"], data.row_space))
            candidate = path.evaluate(params["C"])
            starts.update(path.means)
            return [candidate]

        def fit(best: Candidate) -> Refit:
            from sklearn.pipeline import make_pipeline

            assert best.outputs is not None
            calibration, parts = calibrate(SCORES, _logarithms(best.outputs), data)
            c = best.params["C"]
            model = fitted(data, c, starts[c], data.row_space, data.rows)
            return make_pipeline(*data.steps(), _calibrated(model, calibration)), parts

        candidates, best, about = sampling.search(data, tune, settle)
        return finish(self, candidates, fit, data, started, about, best)

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return probabilities; see `Family`."""
        few = [FEW * len(fit) < len(data.labels) and not data.streamed for fit, _ in data.folds]
        large = data.divided([f for f, is_few in zip(data.folds, few, strict=True) if not is_few])
        others = _solved_together(params["C"], large)
        return [
            _solved_alone(params["C"], data, *fold) if is_few else next(others)
            for fold, is_few in zip(data.folds, few, strict=True)
        ]


class Path:
    """Regressions on all folds for ascending C, each started where the last two solutions point.

    ``space`` is that of the rows, by default of the normalised ones. ``means`` are the means of the
    folds' coefficients by C, ``(d + 1, 1, k)``.
    """

    def __init__(self, data: TrainingSet, space: RowSpace | None = None) -> None:
        self._data = data
        self._problems = _problems(data, space or data.row_space)
        self._solutions: list[Array | None] = [None] * len(self._problems)
        self._before: list[Array | None] = list(self._solutions)  # of the smaller C
        self.means: dict[float, Array] = {}

    def begin(self, coefficients: Array) -> None:
        """Set where the first regressions start, ``(d + 1, f, k)``."""
        ends = np.cumsum([problem.weights.shape[1] for problem in self._problems])
        self._solutions = list(np.split(coefficients, ends[:-1], axis=1))

    def _start(self, number: int) -> Array | None:
        """Return where a problem starts: beyond its last solution, along the path."""
        last, before = self._solutions[number], self._before[number]
        self._before[number] = last
        return last if last is None or before is None else last + AHEAD * (last - before)

    def evaluate(self, c: float) -> Candidate:
        """Solve all folds and score them."""
        data = self._data
        parts: list[Array] = []
        total: Array = np.zeros((1, 1, 1), np.float32)
        for i, problem in enumerate(self._problems):
            solved = problem.solve(c, self._start(i))
            self._solutions[i] = solved.coefficients
            total = total + np.add.reduce(solved.coefficients, axis=1, keepdims=True)
            for fold in range(problem.weights.shape[1]):
                _, held_out = data.folds[len(parts)]
                parts.append(solved.probabilities[held_out, fold])
        self.means[c] = total / np.float32(len(data.folds))
        true = [data.labels[held_out] for _, held_out in data.folds]
        pairs = list(zip(true, parts, strict=True))
        scores = tuple(accuracy(codes, part.argmax(axis=1)) for codes, part in pairs)
        loss = least_loss(SCORES, _logarithms(parts), data)
        return Candidate({"C": c}, scores, loss=loss, outputs=parts)


def _logarithms(parts: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    smallest = np.finfo(np.float32).tiny
    return [np.log(np.maximum(part, smallest)) for part in parts]


def _calibrated(
    model: Any,  # noqa: ANN401 - a LogisticRegression
    fitted: Calibration,
) -> BaseEstimator:
    """Put a calibration of the scores into the coefficients."""
    bias = np.diff(fitted.bias) if len(fitted.bias) == 2 else fitted.bias
    model.coef_ = model.coef_ * fitted.slope
    model.intercept_ = model.intercept_ * fitted.slope + bias
    return model


def _solved_together(c: float, data: TrainingSet) -> Iterator[Array]:
    """Solve all folds at once and yield the probabilities of the rows that each holds out."""
    folds = iter(data.folds)
    for problem in _problems(data, data.row_space):
        solved = problem.solve(c)
        for fold in range(problem.weights.shape[1]):
            yield solved.probabilities[next(folds)[1], fold]


def _solved_alone(
    c: float, data: TrainingSet, fit: NDArray[np.intp], held_out: NDArray[np.intp]
) -> Array:
    space = data.row_space
    part = dataclasses.replace(space, points=space.points[fit])
    weights = data.weights(fit)[fit, None]
    problem = Problem(part, data.labels[fit], weights, data.n_classes, data.workers)
    coefficients = problem.solve(c).coefficients[:, 0]
    intercepts = coefficients[-1] - space.centre @ coefficients[:-1] + problem.offsets[0]
    scores = space.points[held_out] @ coefficients[:-1] + intercepts
    scores -= scores.max(axis=1, keepdims=True)
    probabilities: Array = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def _problems(data: TrainingSet, space: RowSpace) -> list[Problem]:
    """Return the regressions on all folds, as many at once as memory allows."""
    weights = [data.weights(fit) for fit, _ in data.folds]
    at_once = max(1, PROBABILITIES // (len(data.labels) * data.n_classes))
    return [
        Problem(
            space,
            data.labels,
            np.stack(weights[i : i + at_once], axis=1),
            data.n_classes,
            data.workers,
        )
        for i in range(0, len(weights), at_once)
    ]


def _folds_of(part: TrainingSet, c: float, space: RowSpace) -> Array:
    """Solve the folds of a part of the rows, and return the coefficients in another space."""
    folds = [problem.solve(c).coefficients for problem in _problems(part, part.row_space)]
    coefficients = np.concatenate(folds, axis=1)
    flat = coefficients.reshape(len(coefficients), -1)
    return space.from_rows(*part.row_space.to_rows(flat)).reshape(-1, *coefficients.shape[1:])


def fitted(
    data: TrainingSet, c: float, start: Array, space: RowSpace, rows: Features
) -> BaseEstimator:
    """Fit the stock classifier on all rows ``(n, d)``, starting from the shared solver's solution.

    For rows on disk that solution is final, since scikit-learn would read them all into memory.
    """
    from sklearn.linear_model import LogisticRegression

    weights = data.weights(np.arange(len(data.labels)))[:, None]
    problem = Problem(space, data.labels, weights, data.n_classes, data.workers)
    solution = problem.solve(c, start)
    of_rows, intercepts = space.to_rows(solution.coefficients[:, 0])
    codes = np.unique(data.labels)
    coefficients, intercepts = of_rows.T[codes], intercepts[codes]
    if len(codes) == 2:
        coefficients, intercepts = np.diff(coefficients, axis=0), np.diff(intercepts)
    model = LogisticRegression(
        C=c, max_iter=MAX_ITER, class_weight=data.class_weight, warm_start=True
    )
    model.coef_, model.intercept_, model.classes_ = coefficients, intercepts, codes
    if data.streamed:
        model.n_features_in_ = coefficients.shape[1]
        model.n_iter_ = np.array([solution.passes], np.int32)
    else:
        model.fit(rows, data.labels)
    return model.set_params(warm_start=False)
