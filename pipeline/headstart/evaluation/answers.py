"""One model's answers for images, from its file or from a table of predictions, by target type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL

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
        group_thresholds: the same for groups of images, by how these get their answer.
        of_a_file: whether the answers are of a model file, which may list its training images.
    """

    title: str
    classes: tuple[str, ...]
    predicted: Sequence[str]
    probabilities: NDArray[np.floating] | None = None
    trained_on: Mask | None = None
    of_a_file: bool = False
    thresholds: Mapping[float, float] = field(default_factory=dict)
    group_thresholds: Mapping[str, Mapping[float, float]] = field(default_factory=dict)

    TARGET = SINGLE_LABEL

    def padded(self) -> Answers:
        """Return the answers with one more image, which could not be used."""
        scores = self.probabilities
        return dataclasses.replace(
            self,
            predicted=[*self.predicted, ""],
            probabilities=None if scores is None else np.pad(scores, ((0, 1), (0, 0))),
        )

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
            self.group_thresholds,
        )

    def confidence(self, row: int) -> float | None:
        """Return the probability of the answer for an image; None if it is unknown."""
        return None if self.probabilities is None else float(self.probabilities[row].max())


@dataclass(frozen=True)
class LabelAnswers:
    """One model's answers for images that may have several labels.

    Attributes:
        title: the model's name.
        classes: the labels that the model knows, in the order of the columns.
        predicted: ``(n, k)``, whether the model says that an image has a label.
        probabilities: ``(n, k)``; NaN in the rows of images that could not be used.
        trained_on: ``(n,)``, whether the model was trained on the image; None if that is unknown.
        of_a_file: whether the answers are of a model file, which may list its training images.
        thresholds: ``(k,)``, the model's own; empty for predictions in a file.
    """

    title: str
    classes: tuple[str, ...]
    predicted: Mask
    probabilities: NDArray[np.floating]
    trained_on: Mask | None = None
    of_a_file: bool = False
    thresholds: tuple[float, ...] = ()

    TARGET = MULTI_LABEL

    def padded(self) -> LabelAnswers:
        """Return the answers with one more image, which could not be used."""
        return dataclasses.replace(
            self,
            predicted=np.pad(self.predicted, ((0, 1), (0, 0))),
            probabilities=np.pad(self.probabilities, ((0, 1), (0, 0)), constant_values=np.nan),
        )

    def take(self, rows: NDArray[np.intp]) -> LabelAnswers:
        """Return the answers for some of the images."""
        return dataclasses.replace(
            self,
            predicted=self.predicted[rows],
            probabilities=self.probabilities[rows],
            trained_on=None if self.trained_on is None else self.trained_on[rows],
        )

    def of_labels(self, names: Sequence[str]) -> LabelAnswers:
        """Return the answers about some of the labels, in this order."""
        codes = [self.classes.index(name) for name in names]
        return dataclasses.replace(
            self,
            classes=tuple(names),
            predicted=self.predicted[:, codes],
            probabilities=self.probabilities[:, codes],
            thresholds=tuple(self.thresholds[code] for code in codes) if self.thresholds else (),
        )
