"""Multinomial logistic regression on normalised rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads import sampling
from headstart.heads.principal_axes import RowSpace
from headstart.heads.scoring import accuracy, log_loss
from headstart.heads.search import Candidate, FittedHead, TrainingSet, climb, finish
from headstart.heads.softmax import Problem, Solution

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_ITER = 2000
FEW = 4  # a part of the rows this many times smaller than all of them is solved by itself
PROBABILITIES = 250_000_000  # held at once, 1 GB; folds are solved in turn where there are more


@dataclass(frozen=True)
class LogisticRegressionHead:
    """Logistic regression with an L2 penalty.

    Among values of C with the same accuracy, the one with the least out-of-fold log loss is
    chosen, then the smallest. On easy data nearly every C gives the same accuracy, and the
    smallest would give probabilities that hardly differ from a coin's.

    Attributes:
        name: how users spell it.
        c_grid: inverse strengths of the penalty, ascending. Rows of norm 1 want larger values than
            standardised ones; accuracy peaks between 1 and 100 on the features measured so far.
        patience: see `headstart.heads.search.climb`.
    """

    name: str = "logistic-regression"
    c_grid: tuple[float, ...] = tuple(float(f"{c:.3g}") for c in np.logspace(-2, 4, 13))
    patience: int | None = 2

    def search(self, data: TrainingSet) -> FittedHead:
        """Climb the C path over all folds, choose and refit; see `Family`."""
        started = time.perf_counter()

        def tune(part: TrainingSet) -> list[Candidate]:
            return climb(self.c_grid, _Path(part).evaluate, self.patience)

        start: NDArray[np.float32] | None = None  # for the final fit

        def settle(params: dict[str, Any]) -> list[Candidate]:
            nonlocal start
            path = _Path(data)
            if data.streamed:  # each pass reads everything, so it should not begin from nothing
                path.begin(_folds_of(sampling.tuning_part(data), params["C"], data.row_space))
            candidate = path.evaluate(params["C"])
            start = path.mean() if data.streamed else None
            return [candidate]

        def fit(best: Candidate) -> tuple[BaseEstimator, NDArray[np.float64]]:
            assert best.outputs is not None
            probabilities = best.outputs.astype(np.float64)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            return _refit(data, best.params["C"], start), probabilities

        candidates, best, about = sampling.search(data, tune, settle)
        return finish(self.name, candidates, fit, data, started, about, best)

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return probabilities; see `Family`."""
        few = [FEW * len(fit) < len(data.labels) and not data.streamed for fit, _ in data.folds]
        large = data.divided([f for f, is_few in zip(data.folds, few, strict=True) if not is_few])
        together = _together(params["C"], large)
        return [
            _alone(params["C"], data, *fold) if is_few else next(together)
            for fold, is_few in zip(data.folds, few, strict=True)
        ]


class _Path:
    """Regressions on all folds for one C after the other, each from where the last one ended."""

    def __init__(self, data: TrainingSet) -> None:
        self._data = data
        self._problems = _problems(data)
        self._solutions: list[Solution | None] = [None] * len(self._problems)

    def begin(self, coefficients: NDArray[np.float32]) -> None:
        """Set where the first regressions start, ``(f, r + 1, k)``."""
        nothing = np.empty((0, 0, 0), np.float32)
        ends = np.cumsum([problem.weights.shape[1] for problem in self._problems])
        self._solutions = [Solution(part, nothing, 0) for part in np.split(coefficients, ends[:-1])]

    def mean(self) -> NDArray[np.float32]:
        """Return the mean of the folds' last solutions, ``(1, r + 1, k)``."""
        found = [solution.coefficients for solution in self._solutions if solution is not None]
        mean: NDArray[np.float32] = np.concatenate(found).mean(axis=0, keepdims=True)
        return mean

    def evaluate(self, c: float) -> Candidate:
        """Score one C on every fold."""
        data = self._data
        parts: list[NDArray[np.float32]] = []
        for i, problem in enumerate(self._problems):
            solved = self._solutions[i] = problem.solve(c, self._solutions[i])
            for fold in range(problem.weights.shape[1]):
                _, held_out = data.folds[len(parts)]
                parts.append(solved.probabilities[held_out, fold])
            if len(self._problems) > 1:
                self._solutions[i] = solved.without_probabilities()
        true = [data.labels[held_out] for _, held_out in data.folds]
        pairs = list(zip(true, parts, strict=True))
        scores = tuple(accuracy(codes, part.argmax(axis=1)) for codes, part in pairs)
        loss = float(np.mean([log_loss(codes, part) for codes, part in pairs]))
        return Candidate({"C": c}, scores, loss=loss, outputs=data.gather(parts))


def _together(c: float, data: TrainingSet) -> Iterator[NDArray[np.float32]]:
    """Yield the probabilities of the rows that each fold holds out, solved all at once."""
    folds = iter(data.folds)
    for problem in _problems(data):
        solved = problem.solve(c)
        for fold in range(problem.weights.shape[1]):
            yield solved.probabilities[next(folds)[1], fold]


def _alone(
    c: float, data: TrainingSet, fit: NDArray[np.intp], held_out: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the probabilities of the rows held out, from going through the rows to fit on only."""
    space = data.row_space
    part = dataclasses.replace(space, points=space.points[fit])
    weights = data.weights(fit)[fit, None]
    problem = Problem(part, data.labels[fit], weights, data.n_classes, data.workers)
    coefficients = problem.solve(c).coefficients[0]
    scores = space.points[held_out] @ coefficients[:-1] + coefficients[-1] + problem.offsets[0]
    scores -= scores.max(axis=1, keepdims=True)
    probabilities: NDArray[np.float32] = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def _problems(data: TrainingSet) -> list[Problem]:
    """Return the regressions on all folds, as many at once as memory allows."""
    weights = [data.weights(fit) for fit, _ in data.folds]
    at_once = max(1, PROBABILITIES // (len(data.labels) * data.n_classes))
    return [
        Problem(
            data.row_space,
            data.labels,
            np.stack(weights[i : i + at_once], axis=1),
            data.n_classes,
            data.workers,
        )
        for i in range(0, len(weights), at_once)
    ]


def _folds_of(part: TrainingSet, c: float, space: RowSpace) -> NDArray[np.float32]:
    """Solve the folds of a part of the rows, and return the coefficients in another space."""
    found = [problem.solve(c).coefficients for problem in _problems(part)]
    coefficients, own = np.concatenate(found), part.row_space
    weights = own.axes @ coefficients[:, :-1]
    intercepts = coefficients[:, -1:] + ((space.mean - own.mean) @ weights)[:, None]
    return np.concatenate([space.axes.T @ weights, intercepts], axis=1)


def _refit(data: TrainingSet, c: float, start: NDArray[np.float32] | None = None) -> BaseEstimator:
    """Fit the stock pipeline on all rows, from where the shared solver ends.

    Of rows on disk, that is where it stays: scikit-learn would take them all into memory.

    Args:
        data: the training set.
        c: the inverse strength of the penalty.
        start: ``(1, r + 1, k)`` where the shared solver begins; None for zeros.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    space = data.row_space
    everything = data.weights(np.arange(len(data.labels)))[:, None]
    problem = Problem(space, data.labels, everything, data.n_classes, data.workers)
    begin = None if start is None else Solution(start, np.empty((0, 0, 0), np.float32), 0)
    solution = problem.solve(c, begin)
    solved = solution.coefficients[0]
    coefficients = (space.axes @ solved[:-1]).T
    intercepts = solved[-1] - coefficients @ space.mean
    known = np.unique(data.labels)
    coefficients, intercepts = coefficients[known], intercepts[known]
    if len(known) == 2:
        coefficients, intercepts = np.diff(coefficients, axis=0), np.diff(intercepts)
    model = LogisticRegression(
        C=c, max_iter=MAX_ITER, class_weight=data.class_weight, warm_start=True
    )
    model.coef_, model.intercept_, model.classes_ = coefficients, intercepts, known
    if data.streamed:
        model.n_features_in_ = len(space.axes)
        model.n_iter_ = np.array([solution.passes], np.int32)
    else:
        model.fit(data.rows, data.labels)
    model.set_params(warm_start=False)
    return make_pipeline(Normalizer().fit(data.features[:1]), model)
