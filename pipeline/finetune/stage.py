"""The stage: a feature store of the frozen network and its images become a fine-tuned backbone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, export, sources
from pipeline.backbones.network import Candidate
from pipeline.distribute import available_cores
from pipeline.errors import BackboneError, InputError, one_line
from pipeline.files import replacing, sha256_of, write_text
from pipeline.finetune.config import ALL, FROZEN_NORM_BELOW, HEAD, FinetuneConfig
from pipeline.finetune.division import Division, divide
from pipeline.heads.folds import divisions
from pipeline.heads.linear import coefficients
from pipeline.heads.logistic import LogisticRegressionHead
from pipeline.heads.search import TrainingSet
from pipeline.records import Backbone, Choice, FeatureSet, digest_of
from pipeline.report.curves import draw
from pipeline.runner import Runner

if TYPE_CHECKING:
    import torch

    from pipeline.finetune.activations import Photo
    from pipeline.finetune.batches import Batches
    from pipeline.finetune.model import Classifier

TUNED = "+tuned"  # in the name of a backbone
ACTIVATIONS = "activations.h5"
CHECKPOINT = "training.checkpoint"
HISTORY = "history.json"


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning made.

    Attributes:
        backbone: the exported network, an ordinary backbone.
        weight: ``(k, d)`` of the classifier on its features at norm 1.
        bias: ``(k,)``.
        division: which images did what.
        history: the document of ``history.json``.
    """

    backbone: Path
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    division: Division
    history: dict[str, Any]


def refuse_files(choice: Choice, config: FinetuneConfig) -> None:
    """Say at once that an ONNX file, or a network of Keras, cannot be trained.

    Raises:
        BackboneError: the backbone is one.
    """
    if choice.name.startswith("keras:"):
        raise BackboneError(
            f"{one_line(choice.name)} cannot be fine-tuned, because Keras' layers do not train as "
            "torch's do; take a network of torchvision or timm, or train heads on its features "
            "with: headstart train-heads"
        )
    if choice.name.endswith(".onnx") or choice.name.startswith("onnx:"):
        raise BackboneError(
            f"{one_line(choice.name)} is an ONNX file, which has no training graph, so --mode "
            f"{config.mode} cannot train it; give the backbone by its name, or train heads on its "
            "features with: headstart train-heads"
        )


def finetune(
    data: str,
    frozen: FeatureSet,
    choice: Choice,
    out: Path,
    config: FinetuneConfig,
    notice: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """Fine-tune a backbone on the training images of a source.

    Args:
        data: the source, as it was embedded.
        frozen: its features by the frozen backbone.
        choice: the backbone, by its name.
        out: folder for ``backbone.onnx``, ``backbone.safetensors``, ``history.json``,
            ``curves.svg`` and what a killed run continues from.
        config: how.
        notice: receives one line at a time.
        progress: receives (images done, images to do) while activations are computed.

    Raises:
        InputError: the images cannot be divided, or have changed since they were embedded.
        BackboneError: the backbone has no training graph, or cannot be divided at the boundary.
        RunnerError: the device is not there.
        HeadstartError: training failed; the message says what to do.
        OutputError: something cannot be written.
    """
    from pipeline.finetune.training import Trainer, choose_device

    refuse_files(choice, config)
    config = config.settled()
    choose_device(config.device)
    candidate = backbones.find(choice)
    assert isinstance(candidate, Candidate)  # files were refused
    division = divide(frozen, config.seed)
    for remark in division.remarks:
        notice(remark)
    weight, bias = _start(frozen, division, config)
    model, network, batches, boundary = _prepare(
        data, frozen, candidate, choice, division, (weight, bias), out, config, progress
    )
    few = len(division.train) < FROZEN_NORM_BELOW
    identity = digest_of(
        {
            "config": dataclasses.asdict(config) | {"workers": None},
            "data": frozen.sha256[division.train].tobytes().hex(),
            "labels": frozen.label[division.train].tolist(),
            "validation": frozen.sha256[division.validation].tobytes().hex(),
            "backbone": frozen.digest,
            "boundary": boundary,
        }
    )
    trainer = Trainer(
        model,
        batches,
        config,
        _class_weights(frozen, division, config),
        out / CHECKPOINT,
        identity,
        few,
        notice,
    )
    done = trainer.run()
    for remark in done.remarks:
        notice(f"WARNING: {remark}")
    history = {
        "mode": config.mode,
        "boundary": boundary,
        "backbone": candidate.name,
        "config": dataclasses.asdict(config),
        "images": {
            "train": len(division.train),
            "validation": len(division.validation),
            "test": len(division.test),
        },
        "frozen_norm_statistics": few,
        "best": done.best,
        "stopped": done.stopped,
        "batch": done.batch,
        "epochs": done.history,
        "remarks": [*division.remarks, *done.remarks],
    }
    write_text(out / HISTORY, json.dumps(history, indent=2) + "\n")
    write_text(out / "curves.svg", draw(done.history, done.best))
    backbone = out / "backbone.onnx"
    _write(candidate, choice, network, frozen, history, identity, backbone)
    head = model.head.cpu()
    return Tuned(
        backbone, head.weight.detach().numpy(), head.bias.detach().numpy(), division, history
    )


def _start(
    frozen: FeatureSet, division: Division, config: FinetuneConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Train the logistic regression that the classifier starts from, on training images alone."""
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
    return coefficients(LogisticRegressionHead().search(training).estimator)


def _prepare(
    data: str,
    frozen: FeatureSet,
    candidate: Candidate,
    choice: Choice,
    division: Division,
    start: tuple[NDArray[np.float32], NDArray[np.float32]],
    out: Path,
    config: FinetuneConfig,
    progress: Callable[[int, int], None],
) -> tuple[Classifier, torch.nn.Module | None, Batches, str]:
    """Return the model, the library's network within it, what it is shown, and the boundary."""
    from pipeline.finetune import activations, boundary, views
    from pipeline.finetune.batches import PhotoBatches, StoredBatches
    from pipeline.finetune.model import Classifier, Features, Pixels

    photos = _photos(data, frozen, division, config)
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
        return Classifier(base, *start), built.module, batches, "image"
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
        out / ACTIVATIONS, model, [*photos[0], *photos[1]], config.seed, config.workers, progress
    )
    stored = StoredBatches(store, photos, classes, config.seed)
    return Classifier(inner, *start), network, stored, layer or "features"


def _photos(
    data: str, frozen: FeatureSet, division: Division, config: FinetuneConfig
) -> tuple[list[Photo], list[Photo]]:
    from pipeline.finetune.activations import Photo
    from pipeline.store.writer import stored_name

    listing = sources.open_source(data)
    paths = {stored_name(ref.path): sources.location(listing, ref) for ref in listing.images}

    def of(rows: NDArray[np.intp], views: int) -> list[Photo]:
        return [Photo(paths[frozen.path[row]], frozen.sha256[row].tobytes(), views) for row in rows]

    return of(division.train, config.views), of(division.validation, 1)


def _class_weights(
    frozen: FeatureSet, division: Division, config: FinetuneConfig
) -> torch.Tensor | None:
    """Return weights inverse to the classes' frequencies, with mean 1 over images, or None."""
    import torch

    if config.class_weight is None:
        return None
    counts = np.bincount(frozen.label[division.train])[division.known]
    return torch.from_numpy((counts.sum() / (len(counts) * counts)).astype(np.float32))


def _write(
    candidate: Candidate,
    choice: Choice,
    network: torch.nn.Module | None,
    frozen: FeatureSet,
    history: dict[str, Any],
    identity: str,
    out: Path,
) -> None:
    """Write the safetensors file under the library's names, and the ONNX file made from it."""
    from safetensors.torch import save_file

    full = candidate.build()
    if network is not None:
        full.module.load_state_dict(network.state_dict(), strict=False)
    facts = {
        "backbone": candidate.name,
        "architecture": candidate.entry.architecture,
        "provider": candidate.provider.VERSIONED[0],
        "mode": str(history["mode"]),
        "boundary": str(history["boundary"]),
    }
    weights = out.with_suffix(".safetensors")
    with replacing(weights) as partial:
        tensors = {k: v.contiguous().clone() for k, v in full.module.state_dict().items()}
        save_file(tensors, partial, metadata=facts)
    source = export.model_file(choice)[0]
    if network is None:
        with replacing(out) as partial:
            shutil.copyfile(source, partial)
        return
    base: Backbone = Runner(source).backbone
    tuned = dataclasses.replace(
        base,
        name=base.name + TUNED,
        source=f"fine-tuned by Headstart ({history['mode']}, from {history['boundary']}) on "
        f"{len(frozen.path):,} images, training {identity[:16]}; {base.source}",
        weights_sha256=sha256_of(weights),
    )
    export.export(full.headless().eval(), tuned, out)
