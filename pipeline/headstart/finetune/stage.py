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

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.candidate import Candidate
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing, sha256_of, write_text
from headstart.core.records import Backbone, Choice, FeatureSet, digest_of
from headstart.finetune.config import FROZEN_NORM_BELOW, TOP, FinetuneConfig
from headstart.finetune.division import Division, divide
from headstart.report.curves import draw

if TYPE_CHECKING:
    import torch

TUNED = "+tuned"  # in the name of a backbone
CHECKPOINT = "training.checkpoint"
HISTORY = "history.json"
FEATURES = "tuned.h5"  # of all images, by the network that comes out


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


def refuse(choice: Choice, config: FinetuneConfig) -> None:
    """Say before any work what cannot be: training a file or a Keras network, a boundary, a device.

    Raises:
        BackboneError: the backbone is a file, or cannot be divided at the boundary.
        RunnerError: the device is not there.
    """
    if choice.name.endswith(".onnx") or choice.name.startswith("onnx:"):
        raise BackboneError(
            f"{one_line(choice.name)} is an ONNX file, which has no training graph, so --mode "
            f"{config.mode} cannot train it; give the backbone by its name, or train heads on its "
            "features with: headstart train-heads"
        )
    if not backbones.provider_of(choice.name).trainable:
        raise BackboneError(
            f"{one_line(choice.name)} cannot be fine-tuned, because torch cannot train its layers; "
            "take a network of torchvision or timm, or train heads on its features with: "
            "headstart train-heads"
        )
    from headstart.finetune import boundary, training
    from headstart.finetune.preparation import trainable

    training.choose_device(config.device)
    if config.mode == TOP:
        boundary.divide(trainable(choice).build, config.boundary)


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

    `refuse` says before what cannot be.

    Raises:
        InputError: the images cannot be divided, or have changed since they were embedded.
        BackboneError: the backbone cannot be divided at the boundary.
        RunnerError: the device is not there.
        HeadstartError: training failed; the message says what to do.
        OutputError: something cannot be written.
    """
    from headstart.finetune import preparation
    from headstart.finetune.training import Trainer

    config = config.settled()
    candidate = preparation.trainable(choice)
    division = divide(frozen, config.seed)
    for remark in division.remarks:
        notice(remark)
    head, _ = preparation.start(frozen, division, config)
    model, network, batches, boundary = preparation.prepare(
        data, frozen, choice, division, head, out, config, progress
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
        preparation.class_weights(frozen, division, config),
        out / CHECKPOINT,
        identity,
        few,
        notice,
    )
    done = trainer.run()
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
        "training": identity,
        "best": done.best,
        "stopped": done.stopped,
        "batch": done.batch,
        "epochs": done.history,
        "remarks": [*division.remarks, *done.remarks],
    }
    _forget_other(out, history)
    write_text(out / HISTORY, json.dumps(history, indent=2) + "\n")
    write_text(out / "curves.svg", draw(done.history, done.best))
    backbone = out / "backbone.onnx"
    _write(candidate, choice, network, frozen, history, identity, backbone)
    last = model.head.cpu()
    return Tuned(
        backbone, last.weight.detach().numpy(), last.bias.detach().numpy(), division, history
    )


def _forget_other(out: Path, history: dict[str, Any]) -> None:
    """Remove the features of an earlier training's network: the new one would be refused there."""
    try:
        before = json.loads((out / HISTORY).read_text(encoding="utf-8"))
        same = before["training"] == history["training"]
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        for name in (FEATURES, f"{FEATURES}.journal"):
            (out / name).unlink(missing_ok=True)


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
        "provider": candidate.library,
        "mode": str(history["mode"]),
        "boundary": str(history["boundary"]),
    }
    weights = out.with_suffix(".safetensors")
    with replacing(weights) as partial:
        tensors = {k: v.contiguous().clone() for k, v in full.module.state_dict().items()}
        # One entry: safetensors writes several in an order of chance, and the bytes are hashed.
        save_file(tensors, partial, metadata={"headstart": json.dumps(facts)})
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
