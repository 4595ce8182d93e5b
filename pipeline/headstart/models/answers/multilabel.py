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


def chosen(model: Classifier, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which labels each image gets, ``(n, k)``."""
    return np.asarray(probabilities >= model.label_thresholds)


def evidence(probabilities: NDArray[np.floating], least: float) -> NDArray[np.float64]:
    """Return log odds of probabilities of ``least`` and more, ``(n, k)``."""
    likely = np.clip(probabilities.astype(np.float64), least, 1)
    return np.asarray(np.log(likely) - np.log(np.maximum(1 - likely, least)))


def relative(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return weights of labels, ``(k, ...)``, as evidence has them: as they are."""
    return weights
