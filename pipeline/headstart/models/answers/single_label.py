"""The most probable class of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError

if TYPE_CHECKING:
    from headstart.models.classifier import Classifier

UNKNOWN = "unknown"  # the label of an image whose most probable class is below the minimum
KEY = "label"


def check(model: Classifier, min_confidence: float) -> None:
    """Raise an `InputError` if a minimum confidence would be ambiguous."""
    if min_confidence > 0 and UNKNOWN in model.classes:
        raise InputError(
            f"the model has a class named {UNKNOWN}, so a minimum confidence would be ambiguous; "
            "omit it and use the confidence of each row"
        )


def names(
    model: Classifier, scores: NDArray[np.floating], min_confidence: float = 0.0
) -> tuple[str, ...]:
    """Return the class of an image with these probabilities, ``(k,)``, or `UNKNOWN`."""
    best = int(np.argmax(scores))
    return (model.classes[best] if scores[best] >= min_confidence else UNKNOWN,)
