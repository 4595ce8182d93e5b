"""Stage: make a fine-tuned backbone from frozen features and their images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import describe
from headstart.core.artifacts import BACKBONE, CURVES, HISTORY
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import replacing, sha256_of, write_text
from headstart.core.hooks import Hooks
from headstart.core.records import Choice, FeatureSet
from headstart.core.results import Remark
from headstart.datasets import DEFAULTS, Options
from headstart.finetune.config import TOP, FinetuneConfig
from headstart.finetune.division import Division
from headstart.finetune.job import FinetuneJob
from headstart.report.curves import draw

if TYPE_CHECKING:
    import torch

    from headstart.finetune.training import Progress

TUNED = "+tuned"  # suffix of the names of fine-tuned backbones
CHECKPOINT = "training.checkpoint"
FEATURES = "tuned.h5"  # of all images, by the fine-tuned network


@dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning returns.

    Attributes:
        backbone: the exported network, an ordinary backbone.
        weight: ``(k, d)`` of the classifier on features at norm 1; its ``bias`` is ``(k,)``.
        remarks: what the user must know of the division and the training.
        history: the document of ``history.json``.
    """

    backbone: Path
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    division: Division
    remarks: list[Remark]
    history: dict[str, Any]


def check_trainable(choice: Choice, config: FinetuneConfig) -> None:
    """Check before any work that the backbone can be trained as asked, on the device.

    Raises:
        BackboneError: it is an ONNX file or a Keras network, or cannot be divided at the boundary.
    """
    if backbones.is_joint(choice):
        raise BackboneError(
            f"{one_line(choice.name)} is several networks, and one is fine-tuned at a time; name "
            "one of them, or train heads on their features with: headstart train-heads"
        )
    if choice.name.endswith(".onnx") or choice.name.startswith("onnx:"):
        raise BackboneError(
            f"{one_line(choice.name)} is an ONNX file, which has no training graph, so --mode "
            f"{config.mode} cannot train it; choose a backbone by its name, or train heads on its "
            "features with: headstart train-heads"
        )
    if not backbones.provider_of(choice.name).trainable:
        raise BackboneError(
            f"{one_line(choice.name)} cannot be fine-tuned, because torch cannot train its layers; "
            "choose a network of torchvision or timm, or train heads on its features with: "
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
    hooks: Hooks | None = None,
    reading: Options = DEFAULTS,
    named_groups: Mapping[str, str] | None = None,
) -> FinetuneResult:
    """Fine-tune a backbone on the training images of a source.

    Call `check_trainable` first to learn early what cannot work. ``frozen`` holds the features of
    ``data``, read as ``reading`` says, by the frozen backbone ``choice``, chosen by its name.
    ``named_groups`` has the group of an image by its path: a group is not divided. The folder
    ``out`` receives ``backbone.onnx``, ``backbone.safetensors``, ``history.json``, ``curves.svg``
    and the files that an interrupted run continues from.

    Raises:
        InputError: the images cannot be divided, or have changed since they were embedded.
        HeadstartError: training failed; the message says what to do.
    """
    from headstart.finetune import preparation
    from headstart.finetune.training import Trainer, TrainingSetup

    hooks = hooks or Hooks()
    job = FinetuneJob.create(data, frozen, choice, config, reading, named_groups)
    for remark in job.division.remarks:
        hooks.notice(remark.text)
    start = job.start()
    model, network, batches, boundary = preparation.prepare(job, start, out, hooks.progress)
    objective = job.objective()
    setup = TrainingSetup(
        job.config,
        out / CHECKPOINT,
        job.identity(boundary),
        objective,
        job.frozen_norms,
    )
    progress = Trainer(model, batches, setup, hooks.notice).run()
    remarks = [*job.division.remarks, *progress.remarks]
    history = _history(job, boundary, progress) | {"remarks": [remark.text for remark in remarks]}
    _discard_stale_features(out, history)
    write_text(out / HISTORY, json.dumps(history, indent=2) + "\n")
    write_text(out / CURVES, draw(progress.history, progress.best, objective.score))
    backbone = out / BACKBONE
    _export(job, network, history, backbone)
    last = model.head.cpu()
    weight, bias = last.weight.detach().numpy(), last.bias.detach().numpy()
    return FinetuneResult(backbone, weight, bias, job.division, remarks, history)


def _history(job: FinetuneJob, boundary: str, progress: Progress) -> dict[str, Any]:
    from headstart.finetune.preparation import trainable

    return {
        "mode": job.config.mode,
        "boundary": boundary,
        "backbone": trainable(job.choice).name,
        "config": dataclasses.asdict(job.config),
        "images": job.sizes,
        "frozen_norm_statistics": job.frozen_norms,
        "training": job.identity(boundary),
        "best": progress.best,
        "stopped": progress.stopped,
        "batch": progress.batch,
        "epochs": progress.history,
    }


def _discard_stale_features(out: Path, history: dict[str, Any]) -> None:
    """Remove features of an earlier training's network: the store would refuse the new one."""
    try:
        before = json.loads((out / HISTORY).read_text(encoding="utf-8"))
        same = before["training"] == history["training"]
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        for name in (FEATURES, f"{FEATURES}.journal"):
            (out / name).unlink(missing_ok=True)


def _export(
    job: FinetuneJob, network: torch.nn.Module | None, history: dict[str, Any], out: Path
) -> None:
    """Write the safetensors file under the library's names, and the ONNX file made from it."""
    from safetensors.torch import save_file

    from headstart.finetune.preparation import trainable

    candidate = trainable(job.choice)
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
        # A single entry: safetensors writes several in random order, and the bytes are hashed.
        save_file(tensors, partial, metadata={"headstart": json.dumps(facts)})
    source = export.model_file(job.choice)[0]
    if network is None:
        external_data.copy(source, out)
        return
    base = describe(source)
    tuned = dataclasses.replace(
        base,
        name=base.name + TUNED,
        source=f"fine-tuned by Headstart ({history['mode']}, from {history['boundary']}) on "
        f"{len(job.frozen.path):,} images, training {history['training'][:16]}; {base.source}",
        weights_sha256=sha256_of(weights),
    )
    export.export(full.headless().eval(), tuned, out)
