"""An open classifier file: pixels in, probabilities out. Needs neither torch nor scikit-learn."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import parity
from headstart.backbones.inference.description import (
    DISTANCE,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
    is_file,
)
from headstart.backbones.inference.runner import Runner
from headstart.core import targets
from headstart.core.choices import TARGETS
from headstart.core.errors import BackboneError, one_line
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import images
from headstart.models import seal, training_images
from headstart.models.novelty import Unusual


@dataclass(frozen=True)
class Answers:
    """The output of a classifier for some images.

    Attributes:
        probabilities: ``(n, k) float32``, in the order of `Classifier.classes`.
        features: ``(n, d) float32``.
        distance: ``(n,) float32`` cosine distance to the training images, or NaN.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    distance: NDArray[np.float32]

    def unusual(self, mark: Unusual | None) -> list[bool] | None:
        """Return which images the second mark is for; None if the model has none."""
        if mark is None:
            return None
        marks: list[bool] = mark.marks(self.distance, self.probabilities).tolist()
        return marks


class Classifier:
    """A classifier file that Headstart wrote, ready to predict; threads may share an instance.

    ``device`` is one of `headstart.backbones.inference.runner.DEVICES`.

    Attributes:
        classes: the class names, in the order of the probabilities.
        facts: about the training (JSON).
        target: the name of what is predicted, see `headstart.core.targets`.
        thresholds: ``(k,) float32``, from which probability an image has each label; of a
            multi-label model alone.
        threshold: the distance beyond which an image is unlike the training set; None if the file
            has none.
        unusual: the second mark; None if the file has none.
        trained_on: the training images; None if the file does not list them.

    Raises:
        BackboneError: the file is missing, damaged, not a classifier that Headstart wrote or of a
            newer version, or its features on this machine differ from those at export.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu") -> None:
        path = Path(path)
        if not is_file(path):
            raise BackboneError(
                f"no model at {one_line(path)}; train one with: headstart train-heads"
            )
        seal.check(path)
        self._runner = Runner(path, device, batch=None)
        self.backbone = self._runner.backbone
        try:
            self.facts: dict[str, Any] = dict(json.loads(self._runner.metadata[MODEL_METADATA]))
            self.classes = tuple(map(str, self.facts["classes"]))
            self.target = str(self.facts.get("target", SINGLE_LABEL))
            self.thresholds = np.array(self.facts.get("thresholds", ()), np.float32)
            if self.target not in TARGETS or (
                self.target == MULTI_LABEL and len(self.thresholds) != len(self.classes)
            ):
                raise ValueError
            novelty = self.facts.get("novelty")
            self.threshold = float(novelty["threshold"]) if novelty else None
            second = novelty.get("unusual") if novelty else None
            self.unusual = Unusual(**second) if second else None
            self.trained_on = training_images.read(self._runner.metadata)
        except (KeyError, TypeError, ValueError):
            raise BackboneError(
                f"{one_line(path)} is not a classifier that Headstart wrote; "
                "train one with: headstart train-heads"
            ) from None
        parity.check_metadata(self._runner.metadata, self._runner.embed, self.backbone.preprocess)

    def decode(self, data: bytes, seconds: int | None = None) -> NDArray[np.uint8]:
        """Decode an image file into ``(h, w, 3) uint8``; see `headstart.datasets.images.decode`."""
        return images.decode(data, self.backbone.preprocess, seconds)

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, k)`` class probabilities of ``(n, h, w, 3) uint8`` images."""
        return self._runner.infer(PROBABILITIES, crops)

    def answer(self, crops: NDArray[np.uint8]) -> Answers:
        """Return probabilities, features and distances of ``(n, h, w, 3) uint8`` images."""
        if self.threshold is None:
            scores, features = self._runner.outputs((PROBABILITIES, OUTPUT), crops)
            return Answers(scores, features, np.full(len(crops), np.nan, np.float32))
        return Answers(*self._runner.outputs((PROBABILITIES, OUTPUT, DISTANCE), crops))

    @property
    def answers(self) -> Any:  # noqa: ANN401 - a module
        """What probabilities say of an image: a module of `headstart.models.answers`."""
        return targets.by_name(self.target).part("answers")

    @property
    def batch(self) -> int:
        """The batch size on this device."""
        return self._runner.batch
