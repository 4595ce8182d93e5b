"""What a training needs: where the classifier starts, the model, and what it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.candidate import Candidate
from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import Choice, FeatureSet
from headstart.features.store.writer import stored_name
from headstart.finetune import activations, boundary, views
from headstart.finetune.activations import Photo
from headstart.finetune.batches import Batches, PhotoBatches, StoredBatches
from headstart.finetune.config import ALL, HEAD, FinetuneConfig
from headstart.finetune.division import Division
from headstart.finetune.model import Classifier, Features, Pixels
from headstart.heads.folds import divisions
from headstart.heads.linear import coefficients
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.search import FittedHead
from headstart.heads.training_set import TrainingSet

ACTIVATIONS = "activations.h5"


class Prepared(NamedTuple):
    """What `prepare` returns.

    Attributes:
        model: the classifier, at its start.
        network: the library's network within it, by whose names its tensors are saved; None of a
            frozen base.
        batches: what it is shown.
        boundary: the last frozen layer, ``image`` or ``features``.
    """

    model: Classifier
    network: torch.nn.Module | None
    batches: Batches
    boundary: str


def trainable(choice: Choice) -> Candidate:
    """Return the network of a choice that is no file."""
    candidate = backbones.find(choice)
    assert isinstance(candidate, Candidate)  # files were refused
    return candidate


def start(
    frozen: FeatureSet, division: Division, config: FinetuneConfig
) -> tuple[FittedHead, TrainingSet]:
    """Train the logistic regression that the classifier starts from, on training images alone.

    Raises:
        InputError: a class has too few of them.
    """
    labels = frozen.label[division.train].astype(np.int64)
    least = int(np.bincount(labels)[division.known].min())
    if least < 2:
        name = frozen.classes[int(division.known[np.bincount(labels)[division.known].argmin()])]
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
    data: str,
    frozen: FeatureSet,
    choice: Choice,
    division: Division,
    head: FittedHead,
    out: Path,
    config: FinetuneConfig,
    progress: Callable[[int, int], None],
) -> Prepared:
    """Return everything that a training works with; activations are computed here.

    Args:
        data: the source, as it was embedded.
        frozen: its features.
        choice: the backbone.
        division: what trains and what validates.
        head: the logistic regression that the classifier starts from.
        out: folder of the activation store.
        config: settled.
        progress: receives (images done, images to do).

    Raises:
        InputError, BackboneError, StoreError, OutputError: see `activations.fill`.
    """
    candidate = trainable(choice)
    weights = coefficients(head.estimator)
    photos = (
        photos_of(data, frozen, division.train, config.views),
        photos_of(data, frozen, division.validation, 1),
    )
    codes = tuple(
        np.searchsorted(division.known, frozen.label[rows])
        for rows in (division.train, division.validation)
    )
    classes = (codes[0].astype(np.int64), codes[1].astype(np.int64))
    if config.mode == ALL:
        built = candidate.build()
        base = Pixels(built.headless(), built.mean, built.std)
        augment = views.Augment(built.preprocess, config.seed)
        batches = PhotoBatches(augment, photos, classes, config.seed, config.workers)
        return Prepared(Classifier(base, *weights), built.module, batches, "image")
    if config.mode == HEAD:
        inner: torch.nn.Module = Features()
        layer, network = "", None
        cut = choice
    else:
        found, inner, network = boundary.divide(candidate.build, config.boundary)
        layer = found.name
        cut = dataclasses.replace(choice, layer=layer, pool="flatten")
    model, _ = export.model_file(cut)
    store = activations.fill(
        out / ACTIVATIONS, model, [*photos[0], *photos[1]], config.workers, progress
    )
    stored = StoredBatches(store, photos, classes, config.seed)
    return Prepared(Classifier(inner, *weights), network, stored, layer or "features")


def photos_of(data: str, frozen: FeatureSet, rows: NDArray[np.intp], views: int) -> list[Photo]:
    """Return the files of some rows of a feature set, as they were embedded."""
    listing = datasets.open_source(data)
    refs = {stored_name(ref.path): ref for ref in listing.images}
    return [
        Photo(listing, refs[frozen.path[row]], frozen.sha256[row].tobytes(), views) for row in rows
    ]


def class_weights(
    frozen: FeatureSet, division: Division, config: FinetuneConfig
) -> torch.Tensor | None:
    """Return weights inverse to the classes' frequencies, with mean 1 over images, or None."""
    if config.class_weight is None:
        return None
    counts = np.bincount(frozen.label[division.train])[division.known]
    return torch.from_numpy((counts.sum() / (len(counts) * counts)).astype(np.float32))
