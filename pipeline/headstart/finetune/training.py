"""The training loop: epoch after epoch, each saved before the next begins."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.core.errors import HeadstartError, RunnerError
from headstart.core.files import replacing
from headstart.core.remarks import former, remark
from headstart.core.results import Remark
from headstart.core.torchvision_import import import_timm, import_torchvision
from headstart.finetune.batches import Batches
from headstart.finetune.config import ALL, FinetuneConfig
from headstart.finetune.depthwise import QuickDepthwise
from headstart.finetune.model import Anchor, Classifier, freeze_norms, groups
from headstart.finetune.objective import Objective

CLIP = 5.0  # largest norm of a step's gradient
OVERFITTING_GAP = 0.1  # of training over validation score; a larger one is worth a warning
_OVERFITTING = "Overfitting"
_PARTS = ("train", "validation")
_MIX = 0.4  # alpha of MixUp; CutMix has 1


@dataclass
class Progress:
    """The state of a training that checkpoints keep.

    Attributes:
        history: a record per epoch: ``epoch`` (0 is the start), ``train_loss``,
            ``validation_loss``, ``seconds``, and by the objective's score ``train_accuracy`` (of
            augmented views) and ``validation_accuracy``.
        best: the epoch with the best validation.
        batch: images a step, halved after running out of memory.
        stopped: why training ended before its last epoch; empty if it did not.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: int = 0
    batch: int = 0
    remarks: list[Remark] = field(default_factory=list)
    stopped: str = ""

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Progress:
        """Return the progress of a checkpoint; those of former versions have remarks as texts."""
        remarks = [
            former(remark) if isinstance(remark, str) else Remark(**remark)
            for remark in saved["remarks"]
        ]
        return cls(**{**saved, "remarks": remarks})


def choose_device(name: str) -> torch.device:
    """Return the requested device; raise `RunnerError` if torch does not find it."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RunnerError(
            "device cuda is not available: this torch finds no NVIDIA GPU; install a CUDA build of "
            "torch and its driver, or use --device cpu"
        )
    return torch.device(name)


@dataclass(frozen=True)
class TrainingSetup:
    """How to train, besides model and batches.

    Attributes:
        config: settled.
        checkpoint: an interrupted run continues from this file if its ``identity`` matches.
        objective: the loss, and how epochs are judged.
        frozen_norms: whether the statistics of batch normalisation stay as they are.
    """

    config: FinetuneConfig
    checkpoint: Path
    identity: str
    objective: Objective
    frozen_norms: bool = True


class Trainer:
    """Trains a classifier, which ends with the weights of the best epoch."""

    def __init__(
        self,
        model: Classifier,
        batches: Batches,
        setup: TrainingSetup,
        notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        config = setup.config
        self._device = choose_device(config.device)
        self._model = model.to(self._device)
        self._batches, self._setup, self._config = batches, setup, config
        self._notice = notice
        self.progress = Progress(batch=config.batch)
        self._optimizer = import_timm("optim").create_optimizer_v2(
            groups(model, config.lr or 0.0, config.head_lr or 0.0, config.depth_decay or 1.0),
            opt="adamw",
            lr=config.head_lr,
            weight_decay=0.0,
        )
        self._anchor = Anchor(model, self._optimizer, config.decay)
        self._average = import_timm("utils").ModelEmaV3(model, decay=config.ema, use_warmup=True)
        self._best = copy.deepcopy(model.state_dict())
        self._objective = setup.objective
        self._mix = _mixing(model.head.out_features) if config.mode == ALL else None
        self._plan()

    def _plan(self) -> None:
        """Schedule the learning rate: warm-up, then half a cosine."""
        epochs = self._config.epochs or 1
        total = epochs * self._batches.steps(self.progress.batch)
        warm = min(total - 1, round(self._config.warmup * total))
        self._schedule = import_timm("scheduler").CosineLRScheduler(
            self._optimizer,
            t_initial=total,
            warmup_t=warm,
            warmup_prefix=False,
            t_in_epochs=False,
            lr_min=0.0,
        )

    def run(self) -> Progress:
        """Train to the end, from the checkpoint if there is one.

        Raises:
            HeadstartError: the first epoch diverged, or single images need too much memory.
        """
        if not self._resume():
            self._record(0, 0.0, 0.0, time.perf_counter())
            self._save()
        epochs = self._config.epochs or 1
        while not self.progress.stopped and self.progress.history[-1]["epoch"] < epochs:
            epoch = int(self.progress.history[-1]["epoch"]) + 1
            try:
                self._epoch(epoch)
            except (MemoryError, RuntimeError) as error:
                if not _is_memory(error):
                    raise
                self._halve(error)
        self._model.load_state_dict(self._best)
        if not self.progress.best:
            self._remark(
                "HS902",
                "No epoch improved on the frozen network with its logistic regression, judged by "
                "the validation images, so the frozen weights were kept.",
            )
        return self.progress

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        torch.manual_seed(np.random.SeedSequence([self._config.seed, epoch]).generate_state(1)[0])
        self._model.train()
        if self._setup.frozen_norms:
            freeze_norms(self._model)
        total, seen, tally = 0.0, 0, self._objective.tally()
        first = (epoch - 1) * self._batches.steps(self.progress.batch)
        for step, (inputs, targets) in enumerate(
            self._batches.train(epoch, self.progress.batch), first + 1
        ):
            inputs, targets = inputs.to(self._device), targets.to(self._device)
            loss, logits = self._step(inputs, targets, step)
            if not np.isfinite(loss):
                self._stop_diverged(epoch)
                return
            total += loss * len(targets)
            seen += len(targets)
            tally.add(logits.float(), targets)
        self._record(epoch, total / seen, tally.score(), started)
        self._save()

    def _step(
        self, inputs: torch.Tensor, targets: torch.Tensor, step: int
    ) -> tuple[float, torch.Tensor]:
        self._schedule.step_update(step - 1)
        if self._mix is not None:
            inputs, targets = self._mix(inputs, targets)
        with self._arithmetic(), QuickDepthwise():
            logits = self._model(inputs)
        loss = self._objective.loss(logits.float(), targets)
        value = float(loss.detach())
        if np.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP)
            self._optimizer.step()
            self._anchor.pull()
            self._average.update(self._model, step)
        return value, logits.detach()

    def _arithmetic(self) -> torch.autocast:
        enabled = self._config.amp and (
            self._device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bool(enabled))

    def _record(self, epoch: int, loss: float, score: float, started: float) -> None:
        """Validate the averaged weights and add the epoch to the history."""
        validation_loss, validation_score = self._validate()
        objective, progress = self._objective, self.progress
        record = {
            "epoch": epoch,
            "train_loss": loss,
            f"train_{objective.score}": score,
            "validation_loss": validation_loss,
            f"validation_{objective.score}": validation_score,
            "seconds": round(time.perf_counter() - started, 2),
        }
        progress.history.append(record)
        best = next(entry for entry in progress.history if entry["epoch"] == progress.best)
        if epoch and objective.rank(record) < objective.rank(best):
            progress.best = epoch
            self._best = copy.deepcopy(self._average.module.state_dict())
        if epoch - progress.best >= self._config.patience:
            progress.stopped = f"no better validation in {self._config.patience} epochs"
        trained = "" if not epoch else f"training {objective.show(score)}, "
        self._notice(
            f"epoch {epoch}: {trained}validation {objective.show(validation_score)} (loss "
            f"{validation_loss:.3f}), {record['seconds']:.0f} s"
        )
        self._warn_of_overfitting(record)

    def _validate(self) -> tuple[float, float]:
        model = self._average.module.eval()
        tally = self._objective.tally()
        with torch.inference_mode():
            for inputs, targets in self._batches.validation(self.progress.batch):
                with self._arithmetic():
                    logits = model(inputs.to(self._device)).float().cpu()
                tally.add(logits, targets)
        return tally.loss(), tally.score()

    def _stop_diverged(self, epoch: int) -> None:
        if not self.progress.history[-1]["epoch"]:
            raise HeadstartError(
                f"the loss was not finite in epoch {epoch}; nothing was trained; use a lower --lr"
            )
        self.progress.stopped = f"the loss was not finite in epoch {epoch}"
        self._remark(
            "HS903",
            f"Training stopped: {self.progress.stopped}. The weights are those of epoch "
            f"{self.progress.best}; a lower --lr may help.",
        )

    def _halve(self, error: BaseException) -> None:
        """Return to the last complete epoch and halve the batch size."""
        if self.progress.batch == 1:
            raise HeadstartError(
                "there is not enough memory to train on single images; use --mode head, or a "
                "smaller network"
            ) from error
        batch = self.progress.batch // 2
        self._resume()
        self.progress.batch = batch
        self._plan()
        self._remark("HS904", f"Ran out of memory; the batch size is now {batch}.")

    def _warn_of_overfitting(self, record: dict[str, float]) -> None:
        objective = self._objective
        trained, validated = (record[f"{part}_{objective.score}"] for part in _PARTS)
        warned = any(remark.text.startswith(_OVERFITTING) for remark in self.progress.remarks)
        if trained - validated > OVERFITTING_GAP and not warned:
            self._remark(
                "HS905",
                f"{_OVERFITTING}: {objective.show(trained)} on training images, "
                f"{objective.show(validated)} on validation images in epoch "
                f"{record['epoch']:.0f}; more images, more --views or fewer --epochs may help.",
            )

    def _remark(self, code: str, sentence: str) -> None:
        self.progress.remarks.append(remark(code, sentence))
        self._notice(f"WARNING: {sentence}")

    def _save(self) -> None:
        state = {
            "identity": self._setup.identity,
            "progress": dataclasses.asdict(self.progress),
            "model": self._model.state_dict(),
            "average": self._average.module.state_dict(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
        }
        with replacing(self._setup.checkpoint) as partial:
            torch.save(state, partial)

    def _resume(self) -> bool:
        """Load the checkpoint; return whether it belongs to this training."""
        try:
            state: dict[str, Any] = torch.load(
                self._setup.checkpoint, map_location=self._device, weights_only=True
            )
            if state["identity"] != self._setup.identity:
                return False
        except Exception:  # missing, damaged, or of another version: training starts over
            return False
        again = bool(self.progress.history)
        self.progress = Progress.of(state["progress"])
        self._model.load_state_dict(state["model"])
        self._average.module.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self._plan()
        if not again and self.progress.history[-1]["epoch"]:
            self._notice(f"continuing after epoch {self.progress.history[-1]['epoch']}")
        return True


def _mixing(classes: int) -> Callable[[torch.Tensor, torch.Tensor], Any]:
    """Return a transform that applies MixUp or CutMix, drawn anew for each batch."""
    v2 = import_torchvision("transforms.v2")
    mixing: Callable[[torch.Tensor, torch.Tensor], Any] = v2.RandomChoice(
        [v2.MixUp(alpha=_MIX, num_classes=classes), v2.CutMix(alpha=1.0, num_classes=classes)]
    )
    return mixing


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    words = ("out of memory", "not enough memory", "can't allocate")
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return out_of_memory or any(word in text for word in words)
