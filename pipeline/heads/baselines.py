"""What can be had without a backbone; a head that does not beat these has learnt nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import Candidate, FittedHead, TrainingSet, finish, run_parallel
from pipeline.metrics import accuracy

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_ITER = 500


@dataclass(frozen=True)
class MostFrequentClass:
    """Always the most frequent class, with the classes' shares as probabilities."""

    name: str = "most-frequent"

    def search(self, data: TrainingSet) -> FittedHead:
        """Score it on every fold and fit it; see `Family`."""
        from sklearn.dummy import DummyClassifier

        started = time.perf_counter()
        counts = [np.bincount(data.labels[fit]) for fit, _ in data.folds]
        scores = tuple(
            float(np.mean(data.labels[held_out] == count.argmax()))
            for count, (_, held_out) in zip(counts, data.folds, strict=True)
        )
        candidates = [Candidate({}, scores)]
        return finish(
            self.name, candidates, lambda _: DummyClassifier(strategy="prior"), data, started
        )


@dataclass(frozen=True)
class RawPixels:
    """Logistic regression on the principal components of small images.

    Principal components keep it to seconds: on 32 x 32 photos, 100 of them are as good as all 3,072
    pixels.

    Attributes:
        name: how users spell it.
        components: how many principal components are kept at most.
        c_grid: inverse strengths of the L2 penalty, ascending.
    """

    name: str = "raw-pixels"
    components: int = 100
    c_grid: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)

    def search(self, data: TrainingSet) -> FittedHead:
        """Score every C on every fold, choose and refit; see `Family`.

        Args:
            data: its features are the images' pixels, ``(n, 3072)``, from 0 to 1.
        """
        started = time.perf_counter()
        kept = min(self.components, data.features.shape[1], *(len(fit) for fit, _ in data.folds))
        folds = run_parallel(lambda fold: self._scores(data, *fold, kept), data.folds, data.workers)
        candidates = [
            Candidate({"C": c, "components": kept}, scores)
            for c, scores in zip(self.c_grid, zip(*folds, strict=True), strict=True)
        ]

        def build(params: dict[str, Any]) -> BaseEstimator:
            from sklearn.pipeline import make_pipeline

            return make_pipeline(_reduction(kept, data.seed), _regression(params["C"]))

        with _blank_images_allowed():
            return finish(self.name, candidates, build, data, started)

    def _scores(
        self,
        data: TrainingSet,
        fit: NDArray[np.intp],
        held_out: NDArray[np.intp],
        components: int,
    ) -> list[float]:
        """Return the accuracy on one fold for each C; the components are found once."""
        reduction = _reduction(components, data.seed)
        with _blank_images_allowed():
            inside = reduction.fit_transform(data.features[fit])
        outside = reduction.transform(data.features[held_out])
        models = [_regression(c).fit(inside, data.labels[fit]) for c in self.c_grid]
        return [accuracy(data.labels[held_out], model.predict(outside)) for model in models]


def _blank_images_allowed() -> np.errstate:
    """Let the components' shares of a total variance of 0 be NaN; nothing here reads them."""
    return np.errstate(invalid="ignore")


def _reduction(components: int, seed: int) -> BaseEstimator:
    from sklearn.decomposition import PCA

    return PCA(components, svd_solver="randomized", random_state=seed)


def _regression(c: float) -> BaseEstimator:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=MAX_ITER)
