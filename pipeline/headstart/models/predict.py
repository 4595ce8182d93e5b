"""Stage: classify images with a model file, as a stream in the order of the images.

Loads neither torch nor scikit-learn, and keeps only the images in work in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.extract import batches
from headstart.core.costs import Costs
from headstart.core.errors import ImageError, InputError, count, one_line
from headstart.core.label_text import join
from headstart.core.names import IMPORTED
from headstart.core.parallel import available_cores, run_threads
from headstart.core.rows import content_hash
from headstart.datasets import SourceImage, read, stream
from headstart.models.classifier import Answers, Classifier
from headstart.models.training_images import TrainingImages

_CHUNK = 8
_NO_NUMBER = "the network gives no finite number for it; export the network again in fp32"
_ROWS = 1024  # of features, in one inference
_IDLE = -1  # the number of an empty chunk
_PATIENCE = 1.0  # seconds
_AHEAD = 4  # chunks per worker that are in work, or wait for an earlier one


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        label: the most probable class, or `UNKNOWN`; empty if the image could not be used. Of a
            multi-label model, the labels, separated by ``|``.
        probabilities: one per class, in the order of the model's classes.
        error: why the image could not be used; empty if it could.
        distance: cosine distance to the training images; None if it was not measured.
        unlike: whether ``distance`` is beyond the model's threshold, as for 1 in 100 training
            images; None if ``distance`` is.
        unusual: whether distance and doubt together are, as for 1 in 20; None if the model cannot
            say.
        classes: the conformal set, most probable first; empty unless it was asked for.
        trained_on: whether the model was trained on this very file; None unless it was asked.
        labels: the class, or the labels of a multi-label model, perhaps none.
        oddness: distance and doubt together, which ``unusual`` judges; None if ``unusual`` is.
        place: ``(q,)``, on the axes of the model's `TrainingProfile`; None unless it was asked for.
    """

    path: str
    label: str
    probabilities: tuple[float, ...]
    error: str
    distance: float | None = None
    unlike: bool | None = None
    unusual: bool | None = None
    trained_on: bool | None = None
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    oddness: float | None = None
    place: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


class Model(Classifier):
    """A classifier file that Headstart wrote: `predict_paths` for files, ``predict`` for pixels."""

    def predict_paths(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        workers: int | None = None,
        min_confidence: float = 0.0,
    ) -> list[Prediction]:
        """Return a prediction for every image, in order; arguments as for `predict`."""
        return list(predict(self, paths, workers, min_confidence))


def predict(
    model: Classifier,
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    workers: int | None = None,
    min_confidence: float = 0.0,
    path_column: str = "",
    sets: str = "",
    costs: Costs | None = None,
    described: bool = False,
) -> Iterator[Prediction]:
    """Yield a prediction for every image, in order, as soon as it is computed.

    ``data`` names image files, folders, patterns or any source that features are extracted from,
    one or several; ``-`` reads lines from stdin (see `headstart.datasets.inputs`). An image whose
    best probability is below ``min_confidence`` is labelled `UNKNOWN`. ``sets`` asks for conformal
    sets, one of `core.choices.SETS`, and ``costs`` for the class of least expected cost;
    ``described`` for what a comparison with the training images needs.

    Raises:
        InputError: a path is missing, a folder holds no image, or a minimum confidence is set for a
            model with a class named `UNKNOWN`, or one of several labels on one image.
    """
    model.answers.check(model, min_confidence, costs)
    model.check_images()
    names = [data] if isinstance(data, str | os.PathLike) else data
    images = stream(names, path_column)
    return predict_images(model, images, workers, min_confidence, described, sets, costs, described)


def predict_images(
    model: Classifier,
    images: Iterable[SourceImage | None],
    workers: int | None = None,
    min_confidence: float = 0.0,
    check_training: bool = False,
    sets: str = "",
    costs: Costs | None = None,
    placed: bool = False,
) -> Iterator[Prediction]:
    """Yield a prediction for every image, in order; None means that the next one may take a while.

    With ``check_training``, predictions say whether the model was trained on the image, if the
    model lists its training images; with ``placed``, where it lies on the model's axes, if it has
    any.
    """
    workers = workers or available_cores()
    trained_on = model.trained_on if check_training else None
    work = partial(_predict_chunk, model, min_confidence, trained_on, sets, costs, placed)
    slots = threading.Semaphore(workers * _AHEAD)
    chunks = _throttled(_chunks(images, model), slots)
    waiting: dict[int, list[Prediction]] = {}
    position = 0
    results = run_threads(work, chunks, workers)
    try:
        for number, predictions in results:
            if number != _IDLE:
                waiting[number] = predictions
            while position in waiting:
                yield from waiting.pop(position)
                slots.release()
                position += 1
    finally:
        results.close()


def _throttled(
    chunks: Iterable[list[SourceImage]], slots: threading.Semaphore
) -> Iterator[tuple[int, list[SourceImage]]]:
    """Number the chunks, and yield each one only when few enough are in work."""
    numbers = itertools.count()
    for chunk in chunks:
        while chunk and not slots.acquire(timeout=_PATIENCE):
            yield _IDLE, []  # lets a waiting worker see the end of the run
        yield (next(numbers) if chunk else _IDLE), chunk


def _chunks(images: Iterable[SourceImage | None], model: Classifier) -> Iterator[list[SourceImage]]:
    """Yield some images at a time; at None, those collected so far, which may be none.

    A few images do not ask for the model's batch size, which takes inferences to determine.
    """
    chunk: list[SourceImage] = []
    for image in images:
        if image is not None:
            chunk.append(image)
        if image is None or (len(chunk) >= _CHUNK and len(chunk) >= model.batch):
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _predict_chunk(
    model: Classifier,
    min_confidence: float,
    trained_on: TrainingImages | None,
    sets: str,
    costs: Costs | None,
    placed: bool,
    item: tuple[int, list[SourceImage]],
) -> tuple[int, list[Prediction]]:
    number, images = item
    predictions: dict[int, Prediction] = {}
    seen: dict[int, bool] = {}

    def decoded() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for position, image in enumerate(images):
            try:
                data = read(*image)[0]
                if trained_on is not None:
                    seen[position] = hashlib.sha256(data).digest() in trained_on
                yield position, model.decode(data)
            except ImageError as error:
                predictions[position] = Prediction(image.path, "", (), str(error))

    size = model.batch if len(images) > 1 else 1
    for positions, crops in batches(decoded(), size):
        paths = [images[position].path for position in positions]
        answered = judged(model, model.answer(crops), paths, min_confidence, sets, costs, placed)
        for position, prediction in zip(positions, answered, strict=True):
            predictions[position] = replace(prediction, trained_on=seen.get(position))
    return number, [predictions[position] for position in range(len(images))]


def predict_rows(
    model: Classifier,
    names: Sequence[str],
    features: NDArray[np.float32],
    min_confidence: float = 0.0,
    check_training: bool = False,
    sets: str = "",
    costs: Costs | None = None,
    placed: bool = False,
) -> Iterator[Prediction]:
    """Yield a prediction for every row of ``(n, d) float32`` features, in order.

    Arguments are those of `predict_images`; the hash of an image is that of its features.

    Raises:
        InputError: the model takes images, or features of another width.
    """
    model.answers.check(model, min_confidence, costs)
    if not model.takes_features:
        raise InputError(
            f"the model takes images, and embeds them with {one_line(model.backbone.name)}; give it"
            " images, not features"
        )
    if features.shape[1] != model.backbone.dim:
        raise InputError(
            f"the rows have {count(features.shape[1], 'feature')}, but the model takes "
            f"{model.backbone.dim:,} of {one_line(model.backbone.name.removeprefix(IMPORTED))}; "
            "give it features of the same network"
        )
    trained_on = model.trained_on if check_training else None
    for start in range(0, len(features), _ROWS):
        block = features[start : start + _ROWS]
        own = names[start : start + _ROWS]
        answered = judged(model, model.answer(block), own, min_confidence, sets, costs, placed)
        for row, prediction in zip(block, answered, strict=True):
            seen = None if trained_on is None else content_hash(row) in trained_on
            yield replace(prediction, trained_on=seen)


def judged(
    model: Classifier,
    answers: Answers,
    paths: Sequence[str],
    min_confidence: float = 0.0,
    sets: str = "",
    costs: Costs | None = None,
    placed: bool = False,
) -> list[Prediction]:
    """Return what a model's answers say of the images with these paths."""
    marks = answers.unusual(model.unusual)
    unusual: Sequence[bool | None] = [None] * len(paths) if marks is None else marks
    oddness = answers.oddness(model.unusual)
    places = model.profile.place(answers.features) if placed and model.profile else None
    best = answers.probabilities.argmax(axis=1)
    codes = best if costs is None else costs.decide(answers.probabilities)
    predictions = []
    columns = zip(
        paths,
        answers.probabilities,
        codes.tolist(),
        answers.distance.tolist(),
        unusual,
        model.sets(answers.probabilities, sets),
        strict=True,
    )
    for row, (path, scores, code, distance, second, classes) in enumerate(columns):
        if not np.isfinite(scores).all():
            predictions.append(Prediction(path, "", (), _NO_NUMBER))
            continue
        labels = model.answers.names(model, scores, code, min_confidence)
        limit = model.threshold
        predictions.append(
            Prediction(
                path=path,
                label=join(labels),
                probabilities=tuple(scores.tolist()),
                error="",
                distance=None if limit is None else distance,
                unlike=None if limit is None else distance > limit,
                unusual=second,
                classes=classes,
                labels=labels,
                oddness=None if oddness is None else oddness[row],
                place=None if places is None else places[row],
            )
        )
    return predictions
