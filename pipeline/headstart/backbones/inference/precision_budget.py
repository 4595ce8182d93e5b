"""How far a precision's features are from float32's, and how far they may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import MAX_ACCURACY_LOSS, MAX_DRIFT

FOLDS, REPEATS = 5, 3  # of cross-validation by which a loss is measured
_PARTS = 50  # of the images, for the standard error of a score that is no mean over them
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


def jackknife_error(images: int, loss: Callable[[NDArray[np.bool_]], float | None]) -> float:
    """Return the standard error of a difference of scores, in percentage points; 0 if unknown.

    A jackknife that leaves out one of `_PARTS` parts of the images in turn. ``loss`` returns the
    difference for some of them, ``(n,)``, or None if they tell nothing.
    """
    part = np.arange(images) % _PARTS
    losses = [loss(part != number) for number in range(min(_PARTS, images))]
    measured = [each for each in losses if each is not None]
    if not measured:
        return 0.0
    error: float = 100 * float(np.std(measured)) * (len(measured) - 1) ** 0.5
    return round(error, 3)


@dataclass(frozen=True)
class Loss:
    """What features in another precision lose on labelled images.

    Attributes:
        images: those whose labels were cross-validated.
        before: the score of float32 features, 0 to 1; ``after`` is that of the others.
        error: standard error of the difference, in percentage points.
    """

    images: int
    before: float
    after: float
    error: float


@dataclass(frozen=True)
class Drift:
    """How far features are from float32's, on the same images.

    Attributes:
        labelled: images whose labels were cross-validated; 0 if there were too few labels.
        accuracy_fp32: of logistic regression on float32 features, 0 to 1, or what ``score`` names;
            None without labels.
        accuracy: the same with these features and the same folds.
        on_calibration: whether calibration images were measured too.
        labels: digest of the paths and labels of the images to measure.
        loss_error: standard error of `loss`, from answers to the same images; 0 if unknown.
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
    score: str = "accuracy"

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
            return f"{text}; too few labels to measure {self.score}, so the cosine alone decides"
        return (
            f"{text}; {self.score} of logistic regression {100 * self.accuracy:.1f} %, "
            f"in fp32 {100 * self.accuracy_fp32:.1f} %, on {self.labelled:,} labelled images"
            + (f" (a loss of {self.loss:.1f} ± {self.loss_error:.1f} points)")
            * (self.loss_error > 0)
        )
