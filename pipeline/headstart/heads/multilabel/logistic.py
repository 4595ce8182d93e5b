"""Logistic regression of every label on every fold, in one Newton method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.heads.logistic import AHEAD, C_GRID, PROBABILITIES
from headstart.heads.multilabel.binary import BinaryProblems
from headstart.heads.multilabel.family import LabelFamily, Params, Trials, Values
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.linear import one_vs_rest
from headstart.heads.multilabel.platt import Part, Sigmoids
from headstart.heads.softmax import Array

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


@dataclass(frozen=True)
class LogisticRegressionLabels(LabelFamily):
    """Logistic regression with an L2 penalty on each label.

    Ascending values of C are tried until the loss has passed its least: that of all labels
    together, or if they choose by themselves, each label's own.
    """

    name: str = "logistic-regression"
    title: str = "logistic regression"
    grid: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"C": C_GRID})

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Climb the path of C over all folds; see `LabelFamily`."""
        path = _Path(data)
        for c in self.grid["C"]:
            columns = path.columns
            trial = trials.add({"C": c}, path.solve(c), columns)
            path.keep(trials.descending(trial))
            if not len(path.columns):
                break

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return the scores; see `LabelFamily`."""
        return [
            part
            for block in _blocks(data, _at_once(data))
            for part in block.solve(params["C"], None)[0]
        ]

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield the weights and intercepts; see `LabelFamily`."""
        everything = np.arange(len(data.labels))
        block = _Block(data, [(everything, everything[:0])])
        _, coefficients = block.solve(params["C"], None)
        weights, intercepts = data.shared.row_space.to_rows(coefficients[:, :, 0])
        yield Part(weights, intercepts, np.arange(data.n_labels))

    def classifier(self, parts: Sequence[Part], sigmoids: Sigmoids) -> BaseEstimator:
        """Return a ``OneVsRestClassifier``; see `LabelFamily`."""
        return one_vs_rest(parts, sigmoids)


class _Path:
    """The regressions of some labels on all folds, for one C after the other.

    Attributes:
        columns: the labels that are still solved.
    """

    def __init__(self, data: LabelSet) -> None:
        self.columns = np.arange(data.n_labels)
        self._data = data
        self._folds = _at_once(data)
        self._blocks = _blocks(data, self._folds)
        self._before: list[Array | None] = [None] * len(self._blocks)
        self._last = list(self._before)

    def solve(self, c: float) -> list[Values]:
        """Return the scores of the rows that each fold holds out, NaN for other labels."""
        parts: list[Values] = []
        for i, block in enumerate(self._blocks):
            ahead, end = self._before[i], self._last[i]
            start = end if end is None or ahead is None else end + AHEAD * (end - ahead)
            self._before[i] = end
            scores, self._last[i] = block.solve(c, start)
            parts += scores
        if len(self.columns) == self._data.n_labels:
            return parts
        whole = [np.full((len(part), self._data.n_labels), np.nan, np.float32) for part in parts]
        for every, part in zip(whole, parts, strict=True):
            every[:, self.columns] = part
        return list(whole)

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Go on with some labels, ``(k,)``."""
        kept = chosen[self.columns]
        if kept.all():
            return
        k, self.columns = len(kept), self.columns[kept]
        if not len(self.columns):
            return
        self._blocks = _blocks(self._data.only(self.columns), self._folds)
        for solutions in (self._before, self._last):
            for i, each in enumerate(solutions):
                if each is not None:
                    of_folds = each.reshape(len(each), -1, k)[:, :, kept]
                    solutions[i] = of_folds.reshape(len(each), -1, 1)


class _Block:
    """The regressions of all labels on some folds."""

    def __init__(
        self, data: LabelSet, folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
    ) -> None:
        self._data, self._folds = data, folds
        targets = np.tile((data.labels == 1).astype(np.float32), len(folds))
        weights = np.concatenate([data.weights(fit) for fit, _ in folds], axis=1)
        self._problems = BinaryProblems(data.shared.row_space, targets, weights, data.workers)

    def solve(self, c: float, start: Array | None) -> tuple[list[Values], Array]:
        """Return the scores of the rows that each fold holds out, and the coefficients."""
        coefficients = self._problems.solve(c, start).coefficients
        space, k = self._data.shared.row_space, self._data.n_labels
        flat = coefficients[:, :, 0]
        intercepts = flat[-1] - space.centre @ flat[:-1]
        parts = []
        for number, (_, held_out) in enumerate(self._folds):
            own = slice(number * k, (number + 1) * k)
            scores = np.zeros((len(held_out), k), np.float32)
            if len(held_out):
                scores = space.points[held_out] @ flat[:-1, own] + intercepts[own]
            parts.append(scores)
        return list(parts), coefficients


def _blocks(data: LabelSet, at_once: int) -> list[_Block]:
    """Return the regressions of all folds, so many folds at once."""
    folds = data.folds
    return [_Block(data, folds[i : i + at_once]) for i in range(0, len(folds), at_once)]


def _at_once(data: LabelSet) -> int:
    """Return how many folds memory allows at once."""
    return max(1, PROBABILITIES // (3 * data.labels.size))  # with targets and weights
