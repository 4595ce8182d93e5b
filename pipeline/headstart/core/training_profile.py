"""What its training images look like to a model, kept in its metadata: drift is measured by it."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.linalg import normalise

KEY = "headstart.training_profile"  # in a model's metadata
_LISTS = ("distances", "confidences", "shares", "answers", "centre", "spread")


@dataclass(frozen=True)
class TrainingProfile:
    """What the training images look like to the model itself.

    Attributes:
        images: number of training images.
        independent: what they are worth in independent images, at most ``images``: those of a group
            are not.
        distances: quantiles at equal steps of the distances to the reference images, ascending.
        confidences: the same of the highest probability, by models that were not fitted on the
            image; empty if there are none.
        shares: of the classes among the labels; of several labels, how many images have each.
        answers: of the classes among the answers by models that were not fitted on the image; empty
            if there are none.
        axes: ``(q, d) float16``, principal axes of the features at norm 1.
        centre: mean of the training images on the axes, and ``spread`` their standard deviation.
    """

    images: int
    independent: float
    distances: tuple[float, ...]
    confidences: tuple[float, ...]
    shares: tuple[float, ...]
    answers: tuple[float, ...]
    axes: NDArray[np.float16]
    centre: tuple[float, ...]
    spread: tuple[float, ...]

    def place(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(n, d)`` features on the axes, ``(n, q)``, with mean 0 and spread 1."""
        centre, spread = (np.array(part, np.float32) for part in (self.centre, self.spread))
        placed: NDArray[np.float32] = normalise(features) @ self.axes.astype(np.float32).T
        return (placed - centre) / spread

    def to_text(self) -> str:
        """Return the entry of a model's metadata, in few digits."""
        document: dict[str, Any] = {"images": self.images, "independent": self.independent}
        document |= {
            name: [float(f"{value:.5g}") for value in getattr(self, name)] for name in _LISTS
        }
        document["axes"] = base64.b64encode(self.axes.tobytes()).decode("ascii")
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str, classes: int) -> TrainingProfile:
        """Read the entry of a model with this many classes.

        Raises:
            KeyError, TypeError, ValueError: it is no such entry.
        """
        document = json.loads(text)
        lists = {name: tuple(map(float, document[name])) for name in _LISTS}
        try:
            axes = np.frombuffer(base64.b64decode(document["axes"], validate=True), np.float16)
        except binascii.Error as error:
            raise ValueError(f"{KEY} has no axes: {error}") from error
        counts = {len(lists["shares"]), len(lists["answers"])}
        if not lists["distances"] or counts - {classes, 0}:
            raise ValueError(f"{KEY} is of other classes")
        return cls(
            images=int(document["images"]),
            independent=float(document["independent"]),
            axes=axes.reshape(len(lists["centre"]), -1)
            if axes.size
            else np.empty((0, 0), np.float16),
            **lists,
        )
