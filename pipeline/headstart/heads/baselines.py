"""Baselines without a backbone: a head that does not beat them has learned nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads import sampling
from headstart.heads.scoring import accuracy
from headstart.heads.search import Candidate, FittedHead, Refit, class_probabilities, finish
from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_ITER = 500
SAMPLED = 20_000  # rows of a store on disk that raw pixels are fitted on
FOLD_BYTES = 2e9  # memory for the pixels of all folds


@dataclass(frozen=True)
class MostFrequentClass:
    """Predicts the most frequent class, with the class frequencies as probabilities."""

    name: str = "most-frequent"
    title: str = "most frequent class"

    def search(self, data: TrainingSet) -> FittedHead:
        """Score the baseline on every fold and fit it; see `Family`."""
        from sklearn.dummy import DummyClassifier

        started = time.perf_counter()
        shares = [
            np.bincount(data.labels[fit], minlength=data.n_classes) / len(fit)
            for fit, _ in data.folds
        ]
        held_out = [rows for _, rows in data.folds]
        scores = tuple(
            float(np.mean(data.labels[rows] == share.argmax()))
            for share, rows in zip(shares, held_out, strict=True)
        )
        parts = [
            np.tile(share, (len(rows), 1)) for share, rows in zip(shares, held_out, strict=True)
        ]
        model = DummyClassifier(strategy="prior").fit(data.features, data.labels)
        return finish(self, [Candidate({}, scores)], lambda _: (model, parts), data, started)


@dataclass(frozen=True)
class RawPixels:
    """Logistic regression on up to ``components`` principal components of small images.

    On 32 x 32 photos, 100 components are as accurate as all 3,072 pixels, and fitted in seconds.
    ``c_grid`` holds inverse strengths of the L2 penalty, ascending.
    """

    name: str = "raw-pixels"
    title: str = "raw pixels"
    components: int = 100
    c_grid: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)

    def search(self, data: TrainingSet) -> FittedHead:
        """Score every C on every fold, choose one and refit; features are pixels, ``(n, 3072)``."""
        started = time.perf_counter()
        if data.streamed:
            return sampling.on_part(self.search, data, SAMPLED)
        kept = min(self.components, data.features.shape[1], *(len(fit) for fit, _ in data.folds))
        # Each fold in progress needs its rows twice.
        at_once = int(max(1, min(data.workers, FOLD_BYTES // (2 * data.features.nbytes))))
        folds = run_parallel(lambda fold: self._predict(data, *fold, kept), data.folds, at_once)
        true = [data.labels[held_out] for _, held_out in data.folds]
        candidates = [
            Candidate(
                {"C": c, "components": kept},
                tuple(
                    accuracy(codes, part.argmax(axis=1))
                    for codes, part in zip(true, parts, strict=True)
                ),
                outputs=parts,
            )
            for c, parts in zip(self.c_grid, zip(*folds, strict=True), strict=True)
        ]

        def fit(best: Candidate) -> Refit:
            from sklearn.pipeline import make_pipeline

            assert best.outputs is not None
            model = make_pipeline(_reduction(kept, data.seed), _regression(data, best.params["C"]))
            return model.fit(data.features, data.labels), list(best.outputs)

        with _blank_images_allowed():
            return finish(self, candidates, fit, data, started)

    def _predict(
        self,
        data: TrainingSet,
        fit: NDArray[np.intp],
        held_out: NDArray[np.intp],
        components: int,
    ) -> list[NDArray[np.float64]]:
        reduction = _reduction(components, data.seed)
        with _blank_images_allowed():
            inside = reduction.fit_transform(data.features[fit])
        outside = reduction.transform(data.features[held_out])
        models = [_regression(data, c).fit(inside, data.labels[fit]) for c in self.c_grid]
        return [class_probabilities(model, outside, data.n_classes) for model in models]


def _blank_images_allowed() -> np.errstate:
    # The total variance is 0 then, and the components' shares of it NaN, which nothing reads.
    return np.errstate(invalid="ignore")


def _reduction(components: int, seed: int) -> BaseEstimator:
    from sklearn.decomposition import PCA

    return PCA(components, svd_solver="randomized", random_state=seed)


def _regression(data: TrainingSet, c: float) -> BaseEstimator:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=MAX_ITER, class_weight=data.class_weight)
