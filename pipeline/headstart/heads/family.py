"""The base class of head families, with a grid search for any scikit-learn classifier."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each, run_parallel
from headstart.heads import sampling
from headstart.heads.grids import grown
from headstart.heads.scoring import accuracy
from headstart.heads.search import (
    Candidate,
    FittedHead,
    Refit,
    class_probabilities,
    finish,
    forget_all_but_best,
)
from headstart.heads.training_set import Fold, TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

_HOOKS = ("build", "search", "answers")
SAMPLED = 50_000  # rows of a store on disk that a family is fitted on, unless it says otherwise


@dataclass(frozen=True)
class Family:
    """One kind of head and its hyper-parameter grid.

    Override `build` alone to have the grid searched by plain cross-validation, or override `search`
    and `answers` with something faster. Register the family with `headstart.heads.register`.

    Attributes:
        name: identifier on the command line, for instance ``linear-svm``.
        title: name in reports, for instance ``linear SVM``.
        grid: the values to try for each hyper-parameter, simplest first.
        keeps_rows: whether a fitted head, and thus its model file, contains training rows.
    """

    name: str
    title: str
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    keeps_rows: bool = False

    def __post_init__(self) -> None:
        """Refuse a family that could not be searched, where it is made and not in a long run.

        Raises:
            TypeError: it overrides neither `build`, nor both `search` and `answers`.
        """
        own = {name for name in _HOOKS if getattr(type(self), name) is not getattr(Family, name)}
        if "build" not in own and not own >= {"search", "answers"}:
            raise TypeError(f"the head {self.name} must define build, or both search and answers")

    def build(self, params: dict[str, Any], data: TrainingSet) -> BaseEstimator:
        """Return an unfitted classifier with ``predict_proba`` for rows of norm 1."""
        raise NotImplementedError  # for a family with a search of its own, which never asks

    def search(self, data: TrainingSet) -> FittedHead:
        """Cross-validate the grid, choose by mean accuracy and refit on all rows."""
        started = time.perf_counter()
        if data.streamed:
            return sampling.on_part(self.search, data, SAMPLED)
        candidates: list[Candidate] = []
        for values in itertools.product(*self.grid.values()):
            params = dict(zip(self.grid, values, strict=True))
            parts = self.answers(params, data)
            scores = tuple(
                accuracy(data.labels[rows], part.argmax(axis=1))
                for part, (_, rows) in zip(parts, data.folds, strict=True)
            )
            candidates.append(Candidate(params, scores, outputs=parts))
            forget_all_but_best(candidates)

        def fit(best: Candidate) -> Refit:
            assert best.outputs is not None
            everything = np.arange(len(data.labels))
            return self._fitted(best.params, data, everything), list(best.outputs)

        return finish(self, candidates, fit, data, started)

    def search_further(self, data: TrainingSet) -> FittedHead:
        """Search, and where the best value lies at an end of the grid, search a longer one."""
        head = self.search(data)
        longer = None if data.streamed else grown(self.grid, head)
        return dataclasses.replace(self, grid=longer).search(data) if longer else head

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Fit the parameters on every fold and return the predictions for the rows held out.

        ``params`` are those of `FittedHead`; the folds may be any parts, see `TrainingSet.divided`.
        Each prediction is ``(held out, n_classes)``, and the largest value of a row marks its
        class. Logistic regression returns probabilities.
        """

        def answer(fold: Fold) -> NDArray[np.floating]:
            model = self._fitted(params, data, fold[0])
            return class_probabilities(model, data.features[fold[1]], data.n_classes)

        with one_thread_each():
            return run_parallel(answer, data.folds, data.workers)

    def to_onnx(self, estimator: BaseEstimator, dim: int) -> Any:  # noqa: ANN401 - ModelProto
        """Convert a fitted head to a graph from ``X``, ``(n, dim) float32``, to scores.

        The graph's last output is the scores, ``(n, k) float32``. The default conversion is
        skl2onnx's.
        """
        from headstart.heads.onnx_graphs import stock

        return stock.convert(estimator, dim)

    def _fitted(
        self, params: dict[str, Any], data: TrainingSet, rows: NDArray[np.intp]
    ) -> BaseEstimator:
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(*data.steps(), self.build(params, data))
        return model.fit(data.features[rows], data.labels[rows])
