"""The labels whose probabilities reach their thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError

if TYPE_CHECKING:
    from headstart.core.costs import Costs
    from headstart.models.classifier import Classifier

KEY = "labels"


def check(model: Classifier, min_confidence: float, costs: Costs | None) -> None:
    """Raise an `InputError` for what needs one answer: each label has its own threshold."""
    if min_confidence > 0 or costs is not None:
        raise InputError(
            "the model gives an image several labels, each by its own threshold, so a minimum "
            "confidence or costs have no meaning; omit them and use the probability of each label"
        )


def check_sets(model: Classifier) -> None:
    """Raise an `InputError`: the labels of an image are a set already."""
    raise InputError(
        "the model gives an image several labels, each by its own threshold, so sets of classes"
        " have no meaning; use the column labels, or train with --recall-at-least to miss few"
    )


def names(
    model: Classifier, scores: NDArray[np.floating], chosen: int, min_confidence: float = 0.0
) -> tuple[str, ...]:
    """Return the labels of an image with these probabilities, ``(k,)``; perhaps none."""
    reached = np.flatnonzero(np.asarray(scores, np.float32) >= model.label_thresholds).tolist()
    return tuple(model.classes[code] for code in reached)
