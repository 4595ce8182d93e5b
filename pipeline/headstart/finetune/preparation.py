"""What a training needs: the start of the classifier, the model and its batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.candidate import Candidate
from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import Choice
from headstart.finetune import activations, boundary
from headstart.finetune.batches import Batches, LabelledPhotos, PhotoBatches, StoredBatches
from headstart.finetune.config import ALL, HEAD
from headstart.finetune.job import FinetuneJob
from headstart.finetune.model import Classifier, Pixels
from headstart.finetune.views import Augment
from headstart.heads.folds import divisions
from headstart.heads.linear import coefficients
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.search import FittedHead
from headstart.heads.training_set import TrainingSet

ACTIVATIONS = "activations.h5"


class Prepared(NamedTuple):
    """The classifier at its start, and what it is trained on.

    Attributes:
        network: the library's network within the model, whose names its tensors are saved under;
            None where the base is frozen.
        boundary: the last frozen layer, ``image`` or ``features``.
    """

    model: Classifier
    network: torch.nn.Module | None
    batches: Batches
    boundary: str


def trainable(choice: Choice) -> Candidate:
    """Return the network of a choice that is not a file."""
    candidate = backbones.find(choice)
    assert isinstance(candidate, Candidate)  # `check_trainable` refuses files
    return candidate


def start(job: FinetuneJob) -> tuple[FittedHead, TrainingSet]:
    """Train the logistic regression that the classifier starts from, on training images alone.

    Raises:
        InputError: a class has fewer than two training images.
    """
    frozen, division, config = job.frozen, job.division, job.config
    labels = frozen.label[division.train].astype(np.int64)
    counts = np.bincount(labels)[division.classes]
    least = int(counts.min())
    if least < 2:
        name = frozen.classes[int(division.classes[counts.argmin()])]
        raise InputError(
            f"class {one_line(name)} has one training image beside the validation split; add "
            "images of it"
        )
    folds = divisions(labels, min(5, least), config.seed)
    workers = config.workers or available_cores()
    features = frozen.features[division.train]
    training = TrainingSet(features, labels, folds, config.seed, workers, config.class_weight)
    return LogisticRegressionHead().search(training), training


def prepare(
    job: FinetuneJob, head: FittedHead, out: Path, progress: Callable[[int, int], None]
) -> Prepared:
    """Prepare the model and its batches; computes activations into a store in the folder ``out``.

    ``head`` is from `start`; ``progress`` receives (images done, images to do).
    """
    weights = coefficients(head.estimator)
    division = job.division
    train, validation = job.photos((division.train, job.config.views), (division.validation, 1))
    parts = (
        LabelledPhotos(train, job.targets(division.train)),
        LabelledPhotos(validation, job.targets(division.validation)),
    )
    if job.config.mode == ALL:
        return _from_images(job, weights, parts)
    network: torch.nn.Module | None = None
    if job.config.mode == HEAD:
        base: torch.nn.Module = torch.nn.Identity()
        name, cut = "features", job.choice
    else:
        layer, base, network = boundary.divide(trainable(job.choice).build, job.config.boundary)
        name, cut = layer.name, dataclasses.replace(job.choice, layer=layer.name, pool="flatten")
    path, _ = export.model_file(cut)
    store = activations.fill(
        out / ACTIVATIONS, path, [*train, *validation], job.config.workers, progress
    )
    batches = StoredBatches(*parts, job.config.seed, store)
    return Prepared(Classifier(base, *weights), network, batches, name)


def _from_images(
    job: FinetuneJob,
    weights: tuple[NDArray[np.float32], NDArray[np.float32]],
    parts: tuple[LabelledPhotos, LabelledPhotos],
) -> Prepared:
    built = trainable(job.choice).build()
    base = Pixels(built.headless(), built.mean, built.std)
    augment = Augment(built.preprocess, job.config.seed)
    batches = PhotoBatches(*parts, job.config.seed, job.config.workers, augment)
    return Prepared(Classifier(base, *weights), built.module, batches, "image")
