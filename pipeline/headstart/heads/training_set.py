"""The rows that heads are trained on, their folds, and the matrices that families share.

Rows are L2-normalised one by one, so nothing leaks between folds. One Gram matrix of the normalised
rows holds every inner product and distance that any fold, kernel or k needs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError
from headstart.core.parallel.blas import run_parallel
from headstart.core.rows import Features, Mapped, StoredRows
from headstart.heads.principal_axes import RowSpace

MAX_GRAM_ROWS = 10_000  # 0.4 GB; with more, no family computes the inner products of all pairs
MAX_SHARED_ROWS = 5000  # 0.1 GB; with more, distances are computed again for every kernel
GRAM_BLOCK = 256  # rows

_CACHED = 64  # rows of some thousand features that stay in a core's cache
_ZERO = 10 * np.finfo(np.float32).eps  # a norm below which scikit-learn leaves a row as it is

# Squared distances below this are rounding errors of a float32 Gram matrix: the same image.
SAME_IMAGE = 4e-6

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows to fit on, rows held out


@dataclass(frozen=True)
class TrainingSet:
    """The images that heads are tuned and fitted on.

    Attributes:
        features: ``(n, d) float32``, finite, as extracted; they may stay on disk.
        labels: ``(n,) int64`` codes.
        fold: the fold that holds each image out, from 0, or -1 for images that every fold trains
            on: ``(n,)``, or ``(r, n)`` for ``r`` repeats. Every division holds images out, and
            trains every fold on two classes or more. A fold cannot predict a class that it does not
            train on.
        class_weight: None, or ``balanced`` for scikit-learn's weights, inverse to the class
            frequencies among each fold's training rows. kNN ignores it.
        square_root: whether heads read the square roots of the features, see `signed_root`.
    """

    features: Features
    labels: NDArray[np.int64]
    fold: NDArray[np.int64]
    seed: int = 0
    workers: int = 1
    class_weight: str | None = None
    square_root: bool = False

    @property
    def streamed(self) -> bool:
        """Whether the features stay on disk, so that no family may load all of them at once."""
        return isinstance(self.features, StoredRows)

    @property
    def n_classes(self) -> int:
        """One more than the largest code."""
        return int(self.labels.max()) + 1

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds of each division, one division after the other."""
        return [
            (np.flatnonzero(division != i), np.flatnonzero(division == i))
            for division in np.atleast_2d(self.fold)
            for i in np.unique(division[division >= 0])
        ]

    def divided(self, parts: Sequence[Fold]) -> TrainingSet:
        """Return the same images with other `folds`; matrices computed so far are shared."""
        other = dataclasses.replace(self)
        other.__dict__.update(self.__dict__ | {"folds": list(parts)})
        return other

    def part(self, rows: NDArray[np.intp]) -> TrainingSet:
        """Return a subset of the images, with their features in memory."""
        return dataclasses.replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            fold=self.fold[..., rows],
        )

    def gather(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the folds' values, ``(n, k)``, averaged over repeats; NaN where never held out."""
        total = np.zeros((len(self.labels), parts[0].shape[1]), parts[0].dtype)
        times = np.zeros(len(self.labels), np.float32)
        for (_, held_out), part in zip(self.folds, parts, strict=True):
            total[held_out] += part
            times[held_out] += 1
        with np.errstate(invalid="ignore"):
            return total / times[:, None]

    @cached_property
    def rows(self) -> Any:  # noqa: ANN401 - an array, or `Features` where nothing else is done
        """The rows scaled to norm 1, ``(n, d)``; zeros stay, rows on disk are scaled when read.

        Raises:
            InputError: a feature is not finite, or too large to be summed.
        """
        from sklearn.preprocessing import normalize

        if isinstance(self.features, StoredRows):
            unit = functools.partial(_unit_rows, square_root=self.square_root)
            return Mapped(self.features, unit, self.features.shape[1], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            bad = np.flatnonzero(~np.isfinite(self.features.sum(axis=1)))
        if len(bad):
            raise InputError(
                f"{len(bad):,} of {len(self.features):,} training images have features that are"
                " NaN, infinite or too large; extract the features again"
            )
        return normalize(signed_root(self.features) if self.square_root else self.features)

    def steps(self) -> list[Any]:
        """Return the fitted scikit-learn transformers from `features` to `rows`."""
        from sklearn.preprocessing import FunctionTransformer, Normalizer

        root = [FunctionTransformer(signed_root)] if self.square_root else []
        return [*root, Normalizer().fit(self.features[:1])]

    @cached_property
    def squared_norms(self) -> NDArray[np.float32]:
        """The squared norms of `rows`, ``(n,)``: 1, or 0."""
        norms: NDArray[np.float32] = np.einsum("ij,ij->i", self.rows, self.rows)
        return norms

    @cached_property
    def row_space(self) -> RowSpace:
        """The normalised rows on their principal axes."""
        return RowSpace.of(self.rows)

    def weights(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the weight of every row, ``(n,)``, when training on these; 0 for the others."""
        weights = np.zeros(len(self.labels), np.float32)
        weights[rows] = 1.0
        if self.class_weight == "balanced":
            counts = np.bincount(self.labels[rows])
            weights[rows] = len(rows) / np.count_nonzero(counts) / counts[self.labels[rows]]
        return weights

    @cached_property
    def gram(self) -> NDArray[np.float32]:
        """The inner products of all pairs of normalised rows, ``(n, n)``.

        Read it before starting threads: all workers compute it once, as one half and its mirror
        image. BLAS with its own threads took six times as long on busy cores.
        """
        rows, n = self.rows, len(self.rows)
        gram = np.empty((n, n), np.float32)

        def fill(start: int) -> None:
            here = slice(start, start + GRAM_BLOCK)
            gram[here, : here.stop] = rows[here] @ rows[: here.stop].T
            gram[:start, here] = gram[here, :start].T

        run_parallel(fill, reversed(range(0, n, GRAM_BLOCK)), self.workers)
        return gram

    @cached_property
    def squared_distances(self) -> NDArray[np.float32]:
        """The squared distances of all pairs of normalised rows, ``(n, n)``; see `gram`."""
        gram, n = self.gram, len(self.labels)
        everything, distances = np.arange(n), np.empty((n, n), np.float32)

        def fill(start: int) -> None:
            here = everything[start : start + GRAM_BLOCK]
            distances[start : start + GRAM_BLOCK] = squared_distances(gram, here, everything)

        run_parallel(fill, range(0, n, GRAM_BLOCK), self.workers)
        return distances


def signed_root(features: NDArray[Any]) -> NDArray[Any]:
    """Return ``sign(x) sqrt(|x|)``: few large activations then count for less.

    As in Arandjelović and Zisserman, *Three Things Everyone Should Know to Improve Object
    Retrieval*, CVPR 2012.
    """
    roots: NDArray[Any] = np.copysign(np.sqrt(np.abs(features)), features)
    return roots


def _unit_rows(block: NDArray[np.float32], square_root: bool) -> NDArray[np.float32]:
    """Scale rows ``(n, d)`` to norm 1 in place, as scikit-learn's ``normalize`` would.

    Every pass through rows on disk does this, so it takes few rows at a time, which stay in a
    core's cache.
    """
    for start in range(0, len(block), _CACHED):
        rows = block[start : start + _CACHED]
        if square_root and rows.min(initial=0) < 0:
            rows[...] = signed_root(rows)
        elif square_root:
            np.sqrt(rows, out=rows)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        if not np.isfinite(norms).all():
            raise InputError(
                "training images have features that are NaN, infinite or too large; extract the"
                " features again"
            )
        norms[norms < _ZERO] = 1.0
        rows /= norms[:, np.newaxis]
    return block


def mean_squared_distance(rows: NDArray[np.float32]) -> float:
    """Return the mean over all pairs of rows, or 1 if all rows are equal."""
    norms = np.einsum("ij,ij->i", rows, rows).mean(dtype=np.float64)
    centre = rows.mean(axis=0, dtype=np.float64)
    mean = 2.0 * float(norms - centre @ centre)
    return mean if mean > 1e-6 else 1.0


def squared_distances(
    gram: NDArray[np.float32], left: NDArray[np.intp], right: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the squared distances, ``(a, b)``; exactly 0 for rows equal within float32."""
    norms = np.diagonal(gram)
    distances = gram[np.ix_(left, right)]
    distances *= np.float32(-2)
    distances += norms[left, None]
    distances += norms[right]
    distances[distances < SAME_IMAGE] = 0.0
    return distances
