"""A classifier file, opened: pixels in, probabilities out. No torch and no scikit-learn."""

from __future__ import annotations

import json
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
from headstart.core.errors import BackboneError, one_line
from headstart.datasets import images
from headstart.models import seal


@dataclass(frozen=True)
class Answers:
    """What a classifier says of some images.

    Attributes:
        probabilities: ``(n, k) float32``, in the order of `Model.classes`.
        features: ``(n, d) float32``.
        distance: ``(n,) float32`` cosine distance to the training images; NaN if the file knows
            none.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    distance: NDArray[np.float32]


class Model:
    """A classifier file that Headstart wrote, ready to predict; threads may share one.

    Args:
        path: the ONNX file.
        device: one of `headstart.backbones.inference.runner.DEVICES`.

    Attributes:
        classes: the class names, in the order of the probabilities.
        backbone: the backbone's description, its preprocessing included.
        facts: what the file says of its training (JSON).
        threshold: the distance beyond which an image is unlike the training set; None if the file
            does not know.

    Raises:
        BackboneError: the file is missing, is no classifier by Headstart, is damaged or of a newer
            version, or gives other features on this machine than it gave where it was made.
        RunnerError: it cannot run on the device.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if not is_file(path):
            raise BackboneError(
                f"no model at {one_line(path)}; make one with: headstart train-heads"
            )
        seal.check(path)
        self._runner = Runner(path, device, batch=None)
        self.backbone = self._runner.backbone
        try:
            self.facts: dict[str, Any] = dict(json.loads(self._runner.metadata[MODEL_METADATA]))
            self.classes = tuple(map(str, self.facts["classes"]))
            novelty = self.facts.get("novelty")
            self.threshold = float(novelty["threshold"]) if novelty else None
        except (KeyError, TypeError, ValueError):
            raise BackboneError(
                f"{one_line(path)} is no classifier that Headstart wrote; "
                "make one with: headstart train-heads"
            ) from None
        parity.check_metadata(self._runner.metadata, self._runner.embed, self.backbone.preprocess)

    def decode(self, data: bytes, seconds: int | None = None) -> NDArray[np.uint8]:
        """Turn an image file's bytes into what the network takes.

        Args:
            data: the whole file.
            seconds: as `headstart.datasets.images.decode` takes them.

        Raises:
            ImageError: the bytes are no usable image.
        """
        return images.decode(data, self.backbone.preprocess, seconds)

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, k)`` class probabilities of ``(n, h, w, 3) uint8`` images.

        Raises:
            RunnerError: inference failed.
        """
        return self._runner.infer(PROBABILITIES, crops)

    def answer(self, crops: NDArray[np.uint8]) -> Answers:
        """Return all that the file says of ``(n, h, w, 3) uint8`` images.

        Raises:
            RunnerError: inference failed.
        """
        if self.threshold is None:
            scores, features = self._runner.outputs((PROBABILITIES, OUTPUT), crops)
            return Answers(scores, features, np.full(len(crops), np.nan, np.float32))
        return Answers(*self._runner.outputs((PROBABILITIES, OUTPUT, DISTANCE), crops))

    @property
    def batch(self) -> int:
        """How many images one inference takes on this device."""
        return self._runner.batch


def load_model(path: str | Path, device: str = "cpu") -> Model:
    """Open a classifier file that Headstart wrote; see `Model`."""
    return Model(Path(path), device)
