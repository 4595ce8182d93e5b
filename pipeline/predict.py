"""Stage: a model file and images become predictions, as a stream in the order of the images.

Needs onnxruntime, numpy and Pillow; neither torch nor scikit-learn is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import certificate, images
from pipeline.distribute import available_cores, run_threads
from pipeline.errors import BackboneError, ImageError, InputError, one_line
from pipeline.images import read_file
from pipeline.runner import MODEL_METADATA, PROBABILITIES, Runner, is_file
from pipeline.sources import location, open_source
from pipeline.sources.manifest import SUFFIXES

_CHUNK = 8


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: the image.
        label: the most probable class; empty if the image could not be used.
        probabilities: one per class, in the order of `Model.classes`.
        error: why the image could not be used; empty if it could.
    """

    path: str
    label: str
    probabilities: tuple[float, ...]
    error: str


class Model:
    """A classifier file that Headstart wrote, ready to predict; threads may share one.

    Args:
        path: the ONNX file.
        device: one of `pipeline.runner.DEVICES`.

    Attributes:
        classes: the class names, in the order of the probabilities.
        backbone: the backbone's description, its preprocessing included.

    Raises:
        BackboneError: the file is missing, is no classifier by Headstart, or gives other features
            on this machine than it gave where it was made.
        RunnerError: it cannot run on the device.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if not is_file(path):
            raise BackboneError(
                f"no model at {one_line(path)}; make one with: headstart train-heads"
            )
        self._runner = Runner(path, device, batch=None)
        self.backbone = self._runner.backbone
        try:
            self.classes = tuple(json.loads(self._runner.metadata[MODEL_METADATA])["classes"])
        except (KeyError, TypeError, ValueError):
            raise BackboneError(
                f"{one_line(path)} is no classifier that Headstart wrote; "
                "make one with: headstart train-heads"
            ) from None
        certificate.check_metadata(
            self._runner.metadata, self._runner.embed, self.backbone.preprocess
        )

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Turn an image file's bytes into what the network takes.

        Raises:
            ImageError: the bytes are no usable image.
        """
        return images.decode(data, self.backbone.preprocess)

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, k)`` class probabilities of ``(n, h, w, 3) uint8`` images.

        Raises:
            RunnerError: inference failed.
        """
        return self._runner.infer(PROBABILITIES, crops)

    @property
    def batch(self) -> int:
        """How many images one inference takes on this device."""
        return self._runner.batch


def predict(model: Model, paths: Sequence[str], workers: int | None = None) -> Iterator[Prediction]:
    """Yield a prediction for every image, in order.

    Args:
        model: the classifier.
        paths: image files; a folder or a CSV manifest stands for the images that it lists.
        workers: threads; None means one per core.

    Raises:
        InputError: a path is missing, or a folder holds no image.
        RunnerError: inference failed.
    """
    work = partial(_predict_chunk, model)
    chunks = _chunks(_expand(paths), max(_CHUNK, model.batch))
    waiting: dict[int, list[Prediction]] = {}
    following = 0
    for number, results in run_threads(work, chunks, workers or available_cores()):
        waiting[number] = results
        while following in waiting:
            yield from waiting.pop(following)
            following += 1


def _expand(paths: Sequence[str]) -> Iterator[Path]:
    for name in paths:
        path = Path(name)
        try:
            many = path.is_dir() or path.suffix.lower() in SUFFIXES
            missing = not path.exists()
        except OSError as error:  # no permission, or a name that is too long
            raise InputError(f"cannot read {one_line(name)}: {error.strerror}") from error
        if many:
            listing = open_source(name)
            yield from (location(listing, ref) for ref in listing.images)
        elif missing:
            raise InputError(f"no such file or folder: {one_line(name)}")
        else:
            yield path


def _chunks(paths: Iterable[Path], size: int) -> Iterator[tuple[int, list[Path]]]:
    chunk: list[Path] = []
    number = 0
    for path in paths:
        chunk.append(path)
        if len(chunk) == size:
            yield number, chunk
            number, chunk = number + 1, []
    if chunk:
        yield number, chunk


def _predict_chunk(model: Model, item: tuple[int, list[Path]]) -> tuple[int, list[Prediction]]:
    number, paths = item
    found: dict[int, Prediction] = {}
    waiting: dict[int, NDArray[np.uint8]] = {}
    for at, path in enumerate(paths):
        try:
            waiting[at] = model.decode(read_file(path)[0])
        except ImageError as error:
            found[at] = Prediction(str(path), "", (), str(error))
        if waiting and (len(waiting) == model.batch or at == len(paths) - 1):
            scores = model.predict(np.stack(list(waiting.values())))
            for place, row in zip(waiting, scores, strict=True):
                label = model.classes[int(np.argmax(row))]
                found[place] = Prediction(str(paths[place]), label, tuple(map(float, row)), "")
            waiting.clear()
    return number, [found[at] for at in range(len(paths))]
