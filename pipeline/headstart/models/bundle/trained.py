"""A trained head and what its model file carries."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.targets import SINGLE_LABEL
from headstart.core.training_profile import TrainingProfile
from headstart.models.novelty import Reference


@dataclasses.dataclass(frozen=True)
class TrainedHead:
    """A head and what its model file carries.

    Attributes:
        estimator: a fitted scikit-learn classifier of class codes on ``(n, d)`` features.
        classes: the names that the codes index.
        summary: facts about the training (JSON), kept in the metadata.
        reference: None leaves ``distance`` out.
        family: the name of the family that converts the head; skl2onnx does if it is empty.
        trained_on: ``(n, 32) uint8``, SHA-256 of the training images' files; None leaves them out.
        target: the name of what is predicted, see `headstart.core.targets`.
        thresholds: of a multi-label head, the probability from which an image has each label.
        profile: what drift is measured by; None leaves it out.
    """

    estimator: Any
    classes: tuple[str, ...]
    summary: dict[str, Any]
    reference: Reference | None = None
    family: str = ""
    trained_on: NDArray[np.uint8] | None = None
    target: str = SINGLE_LABEL
    thresholds: tuple[float, ...] = ()
    profile: TrainingProfile | None = None
