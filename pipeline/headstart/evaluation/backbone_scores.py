"""What a backbone's features of a sample are worth where images have one class each.

Like `headstart.evaluation.label_backbone_scores`, it has what `backbone_choice` asks of a target
type: the sample's strata, and a task that scores features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.evaluation import transferability
from headstart.evaluation.metrics import PairedComparison, accuracy_interval, compare_with
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

FOLDS, FIGURE = 5, "accuracy"

Right = NDArray[np.bool_]  # of answers


def strata(listing: Listing) -> list[list[ImageRef]]:
    """Return the labelled images outside of the test split by class, if it has enough of them.

    Raises:
        InputError: fewer than two classes have.
    """
    by_class: dict[str, list[ImageRef]] = {}
    for ref in listing.images:
        if ref.label is not None and ref.split != "test":
            by_class.setdefault(ref.label, []).append(ref)
    usable = [refs for refs in by_class.values() if len(refs) >= FOLDS]
    if len(usable) < 2:
        raise InputError(
            f"{one_line(listing.name)}: comparing backbones takes two classes with {FOLDS} "
            f"labelled images each outside of the test split, and {len(usable)} has that"
        )
    return usable


def marks(refs: Sequence[ImageRef]) -> NDArray[np.int8]:
    """Return 1 for each image's class and 0 for the others, ``(n, k)``.

    Raises:
        InputError: there are fewer than two classes.
    """
    codes = np.unique([str(ref.label) for ref in refs], return_inverse=True)[1]
    if codes.max(initial=0) < 1:
        raise InputError("the images that can be read are of fewer than two classes")
    return np.eye(codes.max() + 1, dtype=np.int8)[codes]


def figure(marks: NDArray[np.int8], values: NDArray[np.floating]) -> float:
    """Return the accuracy of values of the classes, ``(n, k)``."""
    return float((values.argmax(axis=1) == marks.argmax(axis=1)).mean())


def usable_rows(rows: list[int], refs: Sequence[ImageRef]) -> list[int]:
    """Keep the images of classes that have enough images for the folds."""
    labels = [refs[row].label for row in rows]
    counts = {label: labels.count(label) for label in set(labels)}
    kept = [row for row in rows if counts[refs[row].label] >= FOLDS]
    if len({refs[row].label for row in kept}) < 2:
        raise InputError(f"fewer than two classes have {FOLDS} images that can be read")
    return kept


@dataclass(frozen=True)
class Task:
    """Images of the sample, ``rows``, with the code of each one's class and its fold, ``(n,)``."""

    METRIC = "accuracy"

    rows: list[int]
    labels: NDArray[np.int64]
    fold: NDArray[np.int64]
    seed: int

    @classmethod
    def of(cls, rows: list[int], refs: Sequence[ImageRef], seed: int) -> Task:
        """Return the task that the readable images are."""
        kept = usable_rows(rows, refs)
        labels = np.unique([str(refs[row].label) for row in kept], return_inverse=True)[1]
        return cls(kept, labels.astype(np.int64), divisions(labels, FOLDS, seed), seed)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.labels.max()) + 1

    def answers(self, features: NDArray[np.float32], workers: int) -> Right:
        """Return which out-of-fold answers of logistic regression are right, ``(n,)``."""
        training = TrainingSet(features, self.labels, self.fold, self.seed, workers)
        predicted = LogisticRegressionHead().search(training).out_of_fold.argmax(axis=1)
        right: Right = predicted == self.labels
        return right

    def log_me(self, features: NDArray[np.float32]) -> float:
        """Return `transferability.log_me` of the rows that heads see."""
        rows = TrainingSet(features, self.labels, self.fold, self.seed).rows
        return transferability.log_me(rows, self.labels)

    def score(self, answers: Right) -> tuple[float, tuple[float, float]]:
        """Return the accuracy and its interval."""
        return float(answers.mean()), accuracy_interval(answers)

    def compare(self, best: Right, others: Sequence[Right]) -> list[PairedComparison]:
        """Compare answers with the best, which was chosen on the same images."""
        return compare_with(best, others, chosen_here=True)
