"""One class of an image: the most probable one, or that of least expected cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError
from headstart.models.classifier import UNKNOWN

if TYPE_CHECKING:
    from headstart.core.costs import Costs
    from headstart.models.classifier import Classifier

KEY = "label"


def check(model: Classifier, min_confidence: float, costs: Costs | None) -> None:
    """Raise an `InputError` if a minimum confidence would be ambiguous."""
    if min_confidence > 0:
        model.check_unknown()


def check_sets(model: Classifier) -> None:
    """Raise an `InputError` if the model cannot answer with a set of classes."""
    if model.set_rule is None:
        raise InputError(
            "the model has no thresholds for sets, as those of earlier versions; train again with:"
            " headstart train-heads, or headstart finetune"
        )


def names(
    model: Classifier, scores: NDArray[np.floating], chosen: int, min_confidence: float = 0.0
) -> tuple[str, ...]:
    """Return the ``chosen`` class of an image, or `UNKNOWN` if its best class is not sure."""
    return (model.classes[chosen] if scores.max() >= min_confidence else UNKNOWN,)


def chosen(model: Classifier, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which class each image gets, ``(n, k)``."""
    marks: NDArray[np.bool_] = np.eye(len(model.classes), dtype=bool)[probabilities.argmax(axis=1)]
    return marks


def evidence(probabilities: NDArray[np.floating], least: float) -> NDArray[np.float64]:
    """Return log-probabilities, of ``least`` and more, in excess of their mean, ``(n, k)``."""
    logs = np.log(np.clip(probabilities.astype(np.float64), least, 1))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def relative(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return weights of classes, ``(k, ...)``, as evidence has them: less their mean."""
    return np.asarray(weights - weights.mean(axis=0))
