"""Stage: a model file and images become predictions, as a stream in the order of the images.

Needs onnxruntime, numpy and Pillow; neither torch nor scikit-learn is loaded. Nothing is held but
the images under way, however many there are.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.extract import batches
from headstart.core.errors import ImageError, InputError
from headstart.core.parallel import available_cores, run_threads
from headstart.datasets import SourceImage, read, stream
from headstart.models.classifier import Model

__all__ = ["UNKNOWN", "Model", "Prediction", "predict"]

UNKNOWN = "unknown"  # the label of an image whose most probable class is not probable enough

_CHUNK = 8
_IDLE = -1  # the number of a chunk that is none
_PATIENCE = 1.0  # seconds
_AHEAD = 4  # chunks a worker that are under way or wait for a slower one before them


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: the image.
        label: the most probable class, or `UNKNOWN`; empty if the image could not be used.
        probabilities: one per class, in the order of `Model.classes`.
        error: why the image could not be used; empty if it could.
        distance: cosine distance to the training images; None if the image could not be used, or
            the model does not know.
        unlike: whether that is farther than nearly all training images are from one another; None
            where ``distance`` is.
    """

    path: str
    label: str
    probabilities: tuple[float, ...]
    error: str
    distance: float | None = None
    unlike: bool | None = None


def predict(
    model: Model,
    paths: Sequence[str],
    workers: int | None = None,
    min_confidence: float = 0.0,
) -> Iterator[Prediction]:
    """Yield a prediction for every image, in order, as soon as it is known.

    Args:
        model: the classifier.
        paths: image files, and every source that features are extracted from; ``-`` for the
            lines on stdin; see `headstart.datasets.inputs`.
        workers: threads; None means one per core.
        min_confidence: the probability below which the label is `UNKNOWN`.

    Raises:
        InputError: a path is missing, a folder holds no image, or the model has a class that is
            called `UNKNOWN` and ``min_confidence`` is given.
        RunnerError: inference failed.
    """
    if min_confidence > 0 and UNKNOWN in model.classes:
        raise InputError(
            f"the model has a class named {UNKNOWN}, so a minimum confidence would be ambiguous; "
            "leave it out, and judge by the confidence of each row"
        )
    workers = workers or available_cores()
    work = partial(_predict_chunk, model, min_confidence)
    slots = threading.Semaphore(workers * _AHEAD)
    chunks = _throttled(_chunks(stream(paths), max(_CHUNK, model.batch)), slots)
    waiting: dict[int, list[Prediction]] = {}
    following = 0
    results = run_threads(work, chunks, workers)
    try:
        for number, found in results:
            if number != _IDLE:
                waiting[number] = found
            while following in waiting:
                yield from waiting.pop(following)
                slots.release()
                following += 1
    finally:
        results.close()


def _throttled(
    chunks: Iterable[list[SourceImage]], slots: threading.Semaphore
) -> Iterator[tuple[int, list[SourceImage]]]:
    """Number the chunks, and hand one out only when few enough are under way.

    While there is none to hand out, nothing is handed out now and then, so that a worker who waits
    learns that the run is over.
    """
    numbers = itertools.count()
    for chunk in chunks:
        while chunk and not slots.acquire(timeout=_PATIENCE):
            yield _IDLE, []
        yield (next(numbers) if chunk else _IDLE), chunk


def _chunks(images: Iterable[SourceImage | None], size: int) -> Iterator[list[SourceImage]]:
    """Yield some images at a time; at None, those collected so far, which may be none."""
    chunk: list[SourceImage] = []
    for image in images:
        if image is not None:
            chunk.append(image)
        if image is None or len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _predict_chunk(
    model: Model, min_confidence: float, item: tuple[int, list[SourceImage]]
) -> tuple[int, list[Prediction]]:
    number, images = item
    predictions: dict[int, Prediction] = {}

    def decoded() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for position, image in enumerate(images):
            try:
                yield position, model.decode(read(*image)[0])
            except ImageError as error:
                predictions[position] = Prediction(image.path, "", (), str(error))

    for positions, crops in batches(decoded(), model.batch):
        answers = model.answer(crops)
        for position, scores, distance in zip(
            positions, answers.probabilities, answers.distance.tolist(), strict=True
        ):
            best = int(np.argmax(scores))
            label = model.classes[best] if scores[best] >= min_confidence else UNKNOWN
            limit = model.threshold
            predictions[position] = Prediction(
                path=images[position].path,
                label=label,
                probabilities=tuple(scores.tolist()),
                error="",
                distance=None if limit is None else distance,
                unlike=None if limit is None else distance > limit,
            )
    return number, [predictions[position] for position in range(len(images))]
