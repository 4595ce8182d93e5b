"""A short training on some of the images: what `headstart.finetune.advice` predicts from.

``head`` and ``top`` are trained, each on a few cached views; ``all`` is only timed, on two batches.
The images that are scored choose nothing: the last epoch counts, not the best. Test images take no
part.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.core.records import Choice, FeatureSet
from headstart.finetune import preparation
from headstart.finetune.config import ALL, HEAD, TOP, FinetuneConfig
from headstart.finetune.division import Division
from headstart.finetune.training import Trainer
from headstart.heads.search import FittedHead

IMAGES = 400  # that are trained on, at most; as many are scored
VIEWS = 4
EPOCHS = 12
_TIMED = 2  # batches that time `all`
_PASS = 1 / 3  # of a training step's cost: looking at an image to validate


@dataclass(frozen=True)
class Pilot:
    """What was found.

    Attributes:
        images: number that was trained on.
        right: by mode, and ``frozen`` for the logistic regression that they start from, ``(m,)
            bool``: whether each image that was held out was classified right.
        training_accuracy: by mode, in the last epoch.
        view_seconds: to compute the activations of one view, by mode.
        image_seconds: of an epoch for each training image, by mode.
    """

    images: int
    right: dict[str, NDArray[np.bool_]]
    training_accuracy: dict[str, float] = field(default_factory=dict)
    view_seconds: dict[str, float] = field(default_factory=dict)
    image_seconds: dict[str, float] = field(default_factory=dict)


def run(
    data: str,
    frozen: FeatureSet,
    choice: Choice,
    division: Division,
    config: FinetuneConfig,
    notice: Callable[[str], None],
) -> Pilot:
    """Try the modes on a part of the training and validation images.

    Args:
        data: the source, as it was embedded.
        frozen: its features.
        choice: the backbone.
        division: of all images.
        config: of ``top`` mode; boundary, batch, rates, device, seed and workers are taken from it.
        notice: receives one line at a time.

    Raises:
        HeadstartError: as `headstart.finetune.finetune`.
    """
    part = sample(frozen, division, config.seed)
    notice(
        f"trial: {len(part.train):,} images are trained on, {len(part.validation):,} are scored; "
        "none of the test split"
    )
    head, _ = preparation.start(frozen, part, config)
    codes = frozen.label[part.validation]
    found = Pilot(
        len(part.train),
        {"frozen": head.estimator.predict(frozen.features[part.validation]) == codes},
    )
    for mode in (HEAD, TOP, ALL):
        _try(mode, data, frozen, choice, part, head, config, found, notice)
    return found


def sample(frozen: FeatureSet, division: Division, seed: int) -> Division:
    """Return a part of the images that train and of others that are held out, by class."""
    rng = np.random.default_rng(seed)
    pool = np.concatenate([division.train, division.validation])
    size = min(IMAGES, len(pool) // 2)
    labels = frozen.label[pool]
    place = np.empty(len(pool))  # of an image within its class, 0 to 1
    for code in division.known:
        own = rng.permutation(np.flatnonzero(labels == code))
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
        place[own[:2]] = -1.0  # a classifier needs two of each
    order = np.argsort(place, kind="stable")
    fitted = max(size, int((place < 0).sum()))
    train, held = np.sort(pool[order[:fitted]]), np.sort(pool[order[::-1][:size]])
    return dataclasses.replace(division, train=train, validation=np.setdiff1d(held, train))


def _try(
    mode: str,
    data: str,
    frozen: FeatureSet,
    choice: Choice,
    part: Division,
    head: FittedHead,
    given: FinetuneConfig,
    found: Pilot,
    notice: Callable[[str], None],
) -> None:
    """Train one mode, or time it, and note what was found."""
    timed = mode == ALL

    def told(line: str) -> None:
        if not timed and not line.startswith("WARNING"):  # which would be about the pilot
            notice(f"{mode}: {line}")

    if timed:
        notice(f"{mode}: is timed")
    config = dataclasses.replace(
        given,
        mode=mode,
        boundary=given.boundary if mode == TOP else "",
        views=VIEWS,
        epochs=2 if timed else EPOCHS,
        lr=None,
        patience=EPOCHS,
    ).settled()
    weights = preparation.class_weights(frozen, part, config)
    if timed:
        few = _TIMED * config.batch
        part = dataclasses.replace(part, train=part.train[:few], validation=part.validation[:1])
    marks: list[tuple[int, float]] = []
    with TemporaryDirectory(prefix="headstart-trial-") as folder:
        place = Path(folder)
        made = preparation.prepare(
            data,
            frozen,
            choice,
            part,
            head,
            place,
            config,
            lambda done, _: marks.append((done, time.perf_counter())),
        )
        trainer = Trainer(
            made.model,
            made.batches,
            config,
            weights,
            place / "checkpoint",
            mode,
            True,
            told,
        )
        history = trainer.run().history
    shown = len(part.train) + _PASS * len(part.validation)
    found.image_seconds[mode] = min(one["seconds"] for one in history[1:]) / shown
    if timed:
        return
    (first, started), (last, ended) = marks[0], marks[-1]
    images = len(part.train) + len(part.validation)
    views = VIEWS * len(part.train) + len(part.validation)
    rate = (ended - started) / max(1, last - first)
    found.view_seconds[mode] = rate * images / views
    found.training_accuracy[mode] = history[-1]["train_accuracy"]
    found.right[mode] = _answers(trainer, made, config)


def _answers(
    trainer: Trainer, made: preparation.Prepared, config: FinetuneConfig
) -> NDArray[np.bool_]:
    """Return whether the last epoch's average of weights is right, for each image held out."""
    model = trainer.averaged.eval()
    with torch.inference_mode():
        right = [
            model(inputs.to(config.device)).argmax(1).cpu() == classes
            for inputs, classes in made.batches.validation(config.batch)
        ]
    answers: NDArray[np.bool_] = torch.cat(right).numpy()
    return answers
