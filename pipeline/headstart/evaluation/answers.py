"""One model's answers for images, from its file or from a table of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """One model's answers for images.

    Attributes:
        title: the model's name.
        classes: the names that the model knows, in the order of ``probabilities``.
        predicted: the answer for each image; empty if the image could not be used.
        probabilities: ``(n, k)``, the highest that of the answer; None if they are unknown.
        trained_on: ``(n,)``, whether the model was trained on the image; None if that is unknown.
        thresholds: the model's own thresholds of confidence, by the share that should be right.
        of_a_file: whether the answers are of a model file, which may list its training images.
    """

    title: str
    classes: tuple[str, ...]
    predicted: Sequence[str]
    probabilities: NDArray[np.floating] | None = None
    trained_on: Mask | None = None
    of_a_file: bool = False
    thresholds: Mapping[float, float] = field(default_factory=dict)

    def take(self, rows: NDArray[np.intp]) -> Answers:
        """Return the answers for some of the images."""
        return Answers(
            self.title,
            self.classes,
            [self.predicted[row] for row in rows],
            None if self.probabilities is None else self.probabilities[rows],
            None if self.trained_on is None else self.trained_on[rows],
            self.of_a_file,
            self.thresholds,
        )

    def confidence(self, row: int) -> float | None:
        """Return the probability of the answer for an image; None if it is unknown."""
        return None if self.probabilities is None else float(self.probabilities[row].max())
