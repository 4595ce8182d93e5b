"""How far a precision's features are from float32's, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import MAX_ACCURACY_LOSS, MAX_DRIFT
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

FOLDS, REPEATS = 5, 3
_SEED = 0
_ONE_SIDED = 1.645  # standard errors to the lower end of a one-sided 95 % interval


@dataclass(frozen=True)
class Budget:
    """How far features may be from float32's.

    ``drift`` limits the mean of 1 - cosine, and ``loss`` the loss of cross-validated accuracy in
    percentage points.
    """

    drift: float = MAX_DRIFT
    loss: float = MAX_ACCURACY_LOSS

    def allows(self, cosine: float, loss: float | None, error: float) -> bool:
        """Say whether a mean cosine and a loss are inside the budget; an unknown loss is ignored.

        A loss counts as larger if that is no chance of the images that were drawn: by the lower end
        of its one-sided 95 % interval, from its standard ``error``. On 286 images half a point is
        1.4 images.
        """
        if not 1 - cosine <= self.drift:
            return False
        return loss is None or loss - _ONE_SIDED * error <= self.loss

    def shown(self, lost: str) -> str:
        """Return the limits for messages; ``lost`` says what the loss is of, empty for none."""
        loss = f" and {self.loss:g} {lost} beyond chance" if lost else ""
        return f"mean cosine {1 - self.drift:g}{loss}"


def standard_error(differences: NDArray[np.floating]) -> float:
    """Return that of the mean, in percentage points, of one difference an image; 0 if unknown."""
    if len(differences) < 2:
        return 0.0
    error: float = differences.std(ddof=1) / len(differences) ** 0.5
    return round(100 * float(error), 3)


@dataclass(frozen=True)
class Drift:
    """How far features are from float32's, on the same images.

    Attributes:
        labelled: images whose labels were cross-validated; 0 if there were too few labels.
        accuracy_fp32: of logistic regression on float32 features, 0 to 1; None without labels.
        accuracy: the same with these features and the same folds.
        on_calibration: whether calibration images were measured too.
        labels: digest of the paths and labels of the images to measure.
        loss_error: standard error of `loss`, from the images' paired differences; 0 if unknown.
    """

    images: int
    mean_cosine: float
    min_cosine: float
    labelled: int
    accuracy_fp32: float | None
    accuracy: float | None
    on_calibration: bool
    labels: str
    loss_error: float = 0.0

    @property
    def loss(self) -> float | None:
        """Accuracy lost in percentage points, negative if gained; None if unknown."""
        if self.accuracy is None or self.accuracy_fp32 is None:
            return None
        return round(100 * (self.accuracy_fp32 - self.accuracy), 3)

    def within(self, budget: Budget) -> bool:
        """Say whether drift and loss are inside the budget; see `Budget.allows`."""
        return budget.allows(self.mean_cosine, self.loss, self.loss_error)

    def __str__(self) -> str:
        text = (
            f"mean cosine {self.mean_cosine:.4f}, smallest {self.min_cosine:.4f} "
            f"on {self.images:,} images"
            + (", those of the calibration among them" if self.on_calibration else "")
        )
        if self.accuracy is None or self.accuracy_fp32 is None:
            return f"{text}; too few labels to measure accuracy, so the cosine alone decides"
        return (
            f"{text}; accuracy of logistic regression {100 * self.accuracy:.1f} %, "
            f"in fp32 {100 * self.accuracy_fp32:.1f} %, on {self.labelled:,} labelled images"
            + (f" (a loss of {self.loss:.1f} ± {self.loss_error:.1f} points)")
            * (self.loss_error > 0)
        )


def accuracies(
    features: list[NDArray[np.float32]],
    labels: Sequence[str | None],
    workers: int,
) -> tuple[int, list[float | None], float]:
    """Cross-validate logistic regression on two feature sets of the same images and folds.

    Returns the number of images, the accuracies, and the standard error of their difference in
    percentage points.
    """
    _, codes = np.unique([label or "" for label in labels], return_inverse=True)
    counts = np.bincount(codes)
    usable = np.array([label is not None for label in labels]) & (counts[codes] >= FOLDS)
    if len(np.unique(codes[usable])) < 2 or not all(np.isfinite(f).all() for f in features):
        return 0, [None] * len(features), 0.0
    kept = np.unique(codes[usable], return_inverse=True)[1].astype(np.int64)
    fold = divisions(kept, FOLDS, _SEED, REPEATS)
    family = LogisticRegressionHead()
    sets = [TrainingSet(rows[usable], kept, fold, _SEED, workers) for rows in features]
    # With the same C for all; choosing it for each adds more noise than the networks differ by.
    params = family.search(sets[0]).params
    right = [_right(family.answers(params, data), data) for data in sets]
    error = standard_error(right[0] - right[1])
    return len(kept), [float(each.mean()) for each in right], error


def _right(parts: Sequence[NDArray[np.floating]], data: TrainingSet) -> NDArray[np.float64]:
    """Return how often the out-of-fold answer to each image was right, in all divisions."""
    right = np.zeros(len(data.labels))
    for (_, rows), probabilities in zip(data.folds, parts, strict=True):
        right[rows] += probabilities.argmax(axis=1) == data.labels[rows]
    return right / REPEATS
