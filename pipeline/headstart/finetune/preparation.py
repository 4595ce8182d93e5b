"""What a training needs: the model and its batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.candidate import Candidate
from headstart.core.records import Choice
from headstart.finetune import activations, boundary
from headstart.finetune.batches import Batches, LabelledPhotos, PhotoBatches, StoredBatches
from headstart.finetune.config import ALL, HEAD
from headstart.finetune.job import FinetuneJob
from headstart.finetune.model import Classifier, Pixels, Start
from headstart.finetune.views import Augment

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


def prepare(
    job: FinetuneJob, start: Start, out: Path, progress: Callable[[int, int], None]
) -> Prepared:
    """Prepare the model and its batches; computes activations into a store in the folder ``out``.

    ``start`` is the job's; ``progress`` receives (images done, images to do).
    """
    division = job.division
    train, validation = job.photos(
        (division.train, job.config.views or 1), (division.validation, 1)
    )
    parts = (
        LabelledPhotos(train, job.targets(division.train)),
        LabelledPhotos(validation, job.targets(division.validation)),
    )
    if job.config.mode == ALL:
        return _from_images(job, start, parts)
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
    return Prepared(Classifier(base, *start), network, batches, name)


def _from_images(
    job: FinetuneJob,
    start: Start,
    parts: tuple[LabelledPhotos, LabelledPhotos],
) -> Prepared:
    built = trainable(job.choice).build()
    base = Pixels(built.headless(), built.mean, built.std)
    augment = Augment(built.preprocess, job.config.seed)
    batches = PhotoBatches(*parts, job.config.seed, job.config.workers, augment)
    return Prepared(Classifier(base, *start), built.module, batches, "image")
