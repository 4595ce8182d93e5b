"""Baselines without a backbone: a head that does not beat them has learned nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.heads import sampling
from headstart.heads.logistic import Path, fitted
from headstart.heads.principal_axes import RowSpace
from headstart.heads.search import Candidate, FittedHead, Refit, climb, finish
from headstart.heads.training_set import TrainingSet

SAMPLED = 20_000  # rows of a store on disk that raw pixels are fitted on
SQUARE = 4  # pixels a side


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
    """Logistic regression on small images, as means of squares of `SQUARE` by `SQUARE` pixels.

    On photos of 32 x 32 these 192 numbers are as accurate as all 3,072. ``c_grid`` holds inverse
    strengths of the L2 penalty, ascending; the first is chosen after which the log loss rises.
    """

    name: str = "raw-pixels"
    title: str = "raw pixels"
    c_grid: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

    def search(self, data: TrainingSet) -> FittedHead:
        """Climb the values of C on all folds, choose one and refit; ``(n, 3 s^2)`` pixels."""
        started = time.perf_counter()
        if data.streamed:
            return sampling.on_part(self.search, data, SAMPLED)
        rows = averaged(np.asarray(data.features))
        space = RowSpace.of(rows)
        path = Path(data, space)
        candidates = climb(self.c_grid, path.evaluate, 1)

        def fit(best: Candidate) -> Refit:
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import FunctionTransformer

            assert best.outputs is not None
            c = best.params["C"]
            model = fitted(data, c, path.means[c], space, rows)
            return make_pipeline(FunctionTransformer(averaged), model), list(best.outputs)

        return finish(self, candidates, fit, data, started)


def averaged(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average square images, ``(n, 3 s^2)``, over small squares."""
    side = round((pixels.shape[1] / 3) ** 0.5)
    cells = -(-side // SQUARE)
    starts = np.arange(cells) * side // cells
    sums = pixels.reshape(len(pixels), side, side, 3)
    for axis in (1, 2):
        sums = np.add.reduceat(sums, starts, axis=axis)
    sizes = np.diff(np.append(starts, side)).astype(np.float32)
    means: NDArray[np.float32] = (sums / np.outer(sizes, sizes)[:, :, None]).reshape(
        len(pixels), -1
    )
    return means
