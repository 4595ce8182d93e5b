"""The rows that heads of several labels are trained on, and their folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.core.rows import Features
from headstart.heads import sampling
from headstart.heads.training_set import Fold, TrainingSet

Labels = NDArray[np.int8]
UNKNOWN = -1


@dataclass(frozen=True)
class LabelSet:
    """Images with several labels each.

    Attributes:
        features: ``(n, d) float32``, finite, as extracted; they may stay on disk.
        labels: ``(n, k) int8``: 1 if an image has the label, 0 if it does not, and -1 if that is
            unknown; an unknown cell counts for nothing in that label.
        fold: see `headstart.heads.training_set.TrainingSet`, like the fields that follow.
        class_weight: None, or ``balanced`` for weights that give images with a label as much
            weight as images without it. kNN and kernel ridge ignore it.
    """

    features: Features
    labels: Labels
    fold: NDArray[np.int64]
    seed: int = 0
    workers: int = 1
    class_weight: str | None = None
    square_root: bool = False

    @cached_property
    def shared(self) -> TrainingSet:
        """The rows, folds and matrices that all labels share.

        Its classes are each image's rarest label, so that samples have enough of every label.
        """
        return TrainingSet(
            self.features,
            rarest(self.labels),
            self.fold,
            seed=self.seed,
            workers=self.workers,
            square_root=self.square_root,
        )

    @property
    def n_labels(self) -> int:
        """The number of labels, k."""
        return int(self.labels.shape[1])

    @property
    def folds(self) -> list[Fold]:
        """The folds of each division, one division after the other."""
        return self.shared.folds

    @cached_property
    def held_out(self) -> NDArray[np.intp]:
        """The rows that the folds hold out, one fold after the other, ``(N,)``."""
        return np.concatenate([rows for _, rows in self.folds])

    def stacked(self, parts: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Return the folds' values one after the other, ``(N, k)``, like `held_out`.

        They are NaN for a label whose value is the same in all rows that a fold is fitted on.
        """
        return np.concatenate(
            [
                np.where(self.varies(fit), part, np.nan)
                for part, (fit, _) in zip(parts, self.folds, strict=True)
            ]
        )

    def varies(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return for each label whether some of the rows have it and others do not, ``(k,)``."""
        labels = self.labels[rows]
        both: NDArray[np.bool_] = (labels == 1).any(axis=0) & (labels == 0).any(axis=0)
        return both

    def weights(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the weight of every row in every label, ``(n, k)``, when training on these.

        It is 0 for other rows, unknown cells and labels that do not vary.
        """
        weights = np.zeros(self.labels.shape, np.float32)
        labels = self.labels[rows]
        if self.class_weight == "balanced":
            counts = np.stack([(labels == 0).sum(axis=0), (labels == 1).sum(axis=0)])
            each = counts.sum(axis=0) / np.maximum(2 * counts, 1)
            weights[rows] = np.where(labels == 1, each[1], each[0])
        else:
            weights[rows] = 1.0
        weights[(self.labels == UNKNOWN) | ~self.varies(rows)] = 0.0
        return weights

    def known_alike(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
        """Yield the columns of labels that are known for the same rows, and these rows."""
        annotated = self.labels != UNKNOWN
        patterns, inverse = np.unique(annotated, axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            yield np.flatnonzero(inverse.reshape(-1) == number), pattern

    def only(self, columns: NDArray[np.intp]) -> LabelSet:
        """Return the same images with some of their labels; matrices computed so far are shared."""
        other = dataclasses.replace(self, labels=self.labels[:, columns])
        other.__dict__["shared"] = self.shared
        return other

    def divided(self, parts: Sequence[Fold]) -> LabelSet:
        """Return the same images with other `folds`; matrices computed so far are shared."""
        other = dataclasses.replace(self)
        other.__dict__["shared"] = self.shared.divided(parts)
        return other

    def sample(self, count: int) -> tuple[LabelSet, NDArray[np.intp]]:
        """Return about ``count`` of the images, in memory, and their rows; all if there are fewer.

        Images are sampled by their rarest label and fold.
        """
        if len(self.labels) <= count and not self.shared.streamed:
            return self, np.arange(len(self.labels))
        rows = sampling.sample(self.shared, count)
        part = dataclasses.replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            fold=self.fold[..., rows],
        )
        return part, rows


def rarest(labels: Labels) -> NDArray[np.int64]:
    """Return the code of each image's rarest label, or k if it has none."""
    present = labels == 1
    k = labels.shape[1]
    order = np.argsort(present.sum(axis=0), kind="stable")
    first = present[:, order].argmax(axis=1)
    codes: NDArray[np.int64] = np.where(present.any(axis=1), order[first], k).astype(np.int64)
    return codes
