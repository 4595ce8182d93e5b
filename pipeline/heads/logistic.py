"""Multinomial logistic regression on normalised rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import (
    Candidate,
    FittedHead,
    TrainingSet,
    class_probabilities,
    climb,
    finish,
)
from pipeline.heads.threads import run_parallel
from pipeline.metrics import accuracy, log_loss

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_ITER = 2000


@dataclass(frozen=True)
class LogisticRegressionHead:
    """Logistic regression with an L2 penalty, fitted by L-BFGS.

    Among values of C with the same accuracy, the one with the least out-of-fold log loss is
    chosen, then the smallest. On easy data nearly every C gives the same accuracy, and the
    smallest would give probabilities that hardly differ from a coin's.

    Attributes:
        name: how users spell it.
        c_grid: inverse strengths of the penalty, ascending. Rows of norm 1 want larger values than
            standardised ones; accuracy peaks between 1 and 100 on the features measured so far.
    """

    name: str = "logistic-regression"
    c_grid: tuple[float, ...] = tuple(float(f"{c:.3g}") for c in np.logspace(-2, 4, 13))

    def search(self, data: TrainingSet) -> FittedHead:
        """Climb the C path over all folds, choose and refit; see `Family`."""
        started = time.perf_counter()

        def evaluate(c: float) -> Candidate:
            parts = run_parallel(lambda fold: _predict(data, fold, c), data.folds, data.workers)
            true = [data.labels[held_out] for _, held_out in data.folds]
            pairs = list(zip(true, parts, strict=True))
            scores = tuple(accuracy(codes, part.argmax(axis=1)) for codes, part in pairs)
            loss = float(np.mean([log_loss(codes, part) for codes, part in pairs]))
            return Candidate({"C": c}, scores, loss=loss, outputs=data.gather(parts))

        def fit(best: Candidate) -> tuple[BaseEstimator, NDArray[np.float64]]:
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import Normalizer

            assert best.outputs is not None
            model = make_pipeline(Normalizer(), _regression(data, best.params["C"]))
            return model.fit(data.features, data.labels), best.outputs.astype(np.float64)

        return finish(self.name, climb(self.c_grid, evaluate), fit, data, started)

    def answers(self, params: dict[str, Any], data: TrainingSet) -> list[NDArray[np.floating]]:
        """Return probabilities; see `Family`."""
        return list(
            run_parallel(lambda fold: _predict(data, fold, params["C"]), data.folds, data.workers)
        )


def _regression(data: TrainingSet, c: float) -> BaseEstimator:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=MAX_ITER, class_weight=data.class_weight)


def _predict(
    data: TrainingSet, fold: tuple[NDArray[np.intp], NDArray[np.intp]], c: float
) -> NDArray[np.float64]:
    """Return the probabilities of the held-out rows of one fold."""
    fit, held_out = fold
    model = _regression(data, c).fit(data.rows[fit], data.labels[fit])
    return class_probabilities(model, data.rows[held_out], data.n_classes)
