"""What a backbone's features of a sample are worth where images have several labels.

See `headstart.evaluation.backbone_scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.evaluation import transferability
from headstart.evaluation.label_predictions import LabelTable
from headstart.evaluation.metrics import OUT_OF_FOLD, PairedComparison
from headstart.evaluation.metrics import multilabel as metrics
from headstart.evaluation.metrics.multilabel.jackknife import Precisions
from headstart.evaluation.metrics.multilabel.resampling import precision_intervals
from headstart.evaluation.metrics.multilabel.units import Units
from headstart.evaluation.splits import iterative
from headstart.heads.multilabel.label_set import LabelSet, rarest
from headstart.heads.multilabel.logistic import LogisticRegressionLabels
from headstart.heads.multilabel.scoring import average_precisions

FOLDS, FIGURE = 5, "mean average precision"

Answers = NDArray[np.float64]  # out-of-fold probabilities, (n, k)


def strata(listing: Listing) -> list[list[ImageRef]]:
    """Return the labelled images outside of the test split by their rarest label.

    Raises:
        InputError: no label has enough images with it and without it.
    """
    refs = [ref for ref in listing.images if ref.labels is not None and ref.split != "test"]
    if not refs:
        raise _too_few(one_line(listing.name))
    labels = LabelTable.of(listing.classes, [ref.labels for ref in refs]).labels
    kept = _usable(labels)
    if not kept.any():
        raise _too_few(one_line(listing.name))
    codes = rarest(labels[:, kept])
    return [[refs[row] for row in np.flatnonzero(codes == code)] for code in np.unique(codes)]


def marks(refs: Sequence[ImageRef]) -> NDArray[np.int8]:
    """Return which labels images have, ``(n, k)``: 1, 0, or -1 where that is unknown.

    Raises:
        InputError: all images have the same ones.
    """
    names = sorted({name for ref in refs for name in ref.names})
    labels = LabelTable.of(names, [ref.labels for ref in refs]).labels
    varies = (labels == 1).any(axis=0) & (labels == 0).any(axis=0)
    if not varies.any():
        raise InputError("no label differs between the images that can be read")
    return labels[:, varies]


def figure(marks: NDArray[np.int8], values: NDArray[np.floating]) -> float:
    """Return the mean average precision of values of the labels, ``(n, k)``."""
    return float(np.nanmean(average_precisions(marks, values)))


def _usable(labels: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return which labels have enough images with them and without them for the folds, ``(k,)``."""
    least = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0))
    usable: NDArray[np.bool_] = least >= FOLDS
    return usable


def _too_few(name: str) -> InputError:
    return InputError(
        f"{name}: comparing backbones takes a label that {FOLDS} images outside of the test split"
        f" have and {FOLDS} lack, and there is none"
    )


@dataclass(frozen=True)
class Task:
    """Images of the sample, ``rows``, with ``(n, k)`` labels and the fold of each, ``(n,)``."""

    METRIC = "map"

    rows: list[int]
    labels: NDArray[np.int8]
    fold: NDArray[np.int64]
    seed: int

    @classmethod
    def of(cls, rows: list[int], refs: Sequence[ImageRef], seed: int) -> Task:
        """Return the task that the readable images are, with the labels that can be learned."""
        sets = [refs[row].labels for row in rows]
        names = sorted({name for ref in refs for name in ref.names})
        labels = LabelTable.of(names, sets).labels
        labels = labels[:, _usable(labels)]
        if not labels.shape[1]:
            raise _too_few("the images that can be read")
        return cls(rows, labels, iterative.folds(labels, None, FOLDS, seed)[0], seed)

    @property
    def classes(self) -> int:
        """The number of labels."""
        return int(self.labels.shape[1])

    def answers(self, features: NDArray[np.float32], workers: int) -> Answers:
        """Return the out-of-fold probabilities of logistic regression, ``(n, k)``.

        A label is 0 throughout a fold whose other folds do not vary in it.
        """
        answers = LogisticRegressionLabels().search(self._set(features, workers)).out_of_fold
        return np.nan_to_num(answers)

    def log_me(self, features: NDArray[np.float32]) -> float:
        """Return `transferability.log_me` of the rows that heads see."""
        return transferability.log_me(self._set(features).shared.rows, self.labels)

    def score(self, answers: Answers) -> tuple[float, tuple[float, float]]:
        """Return mean average precision and its interval."""
        units = Units(self.labels, None)
        precisions = Precisions.of(self.labels, answers, units)
        _, interval = precision_intervals(precisions, units.positive, OUT_OF_FOLD)
        assert interval is not None
        return float(precisions.observed.mean()), interval

    def compare(self, best: Answers, others: Sequence[Answers]) -> list[PairedComparison]:
        """Compare answers with the best, which was chosen on the same images."""
        return metrics.compare_with(self.labels, best, others, chosen_here=True)

    def _set(self, features: NDArray[np.float32], workers: int = 1) -> LabelSet:
        return LabelSet(features, self.labels, self.fold, self.seed, workers)
