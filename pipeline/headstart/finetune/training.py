"""The training loop: one epoch after the other, each kept before the next begins."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.core.errors import HeadstartError, RunnerError
from headstart.core.files import replacing
from headstart.core.torchvision_import import import_timm, import_torchvision
from headstart.finetune.batches import Batches
from headstart.finetune.config import ALL, FinetuneConfig
from headstart.finetune.depthwise import QuickDepthwise
from headstart.finetune.model import Anchor, Classifier, freeze_norms, groups

CLIP = 5.0  # largest norm of a step's gradient
RUNAWAY = 0.1  # training accuracy this much above validation's is worth a warning
_RAN = "Training accuracy ran away"
_MIX = 0.4  # alpha of MixUp; CutMix has 1


@dataclass
class Progress:
    """What training has come to; checkpoints hold it.

    Attributes:
        history: a record an epoch: ``epoch`` (0 is the start), ``train_loss``, ``train_accuracy``
            (of augmented views), ``validation_loss``, ``validation_accuracy``, ``seconds``.
        best: the epoch with the best validation.
        batch: images a step, halved where memory did not suffice.
        remarks: plain sentences.
        stopped: why it ended before its last epoch; empty if it did not.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: int = 0
    batch: int = 0
    remarks: list[str] = field(default_factory=list)
    stopped: str = ""


def choose_device(name: str) -> torch.device:
    """Return the device that was asked for.

    Raises:
        RunnerError: torch has none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RunnerError(
            "device cuda was asked for, but this torch finds no NVIDIA GPU; install a CUDA build "
            "of torch and its driver, or use --device cpu"
        )
    return torch.device(name)


class Trainer:
    """Trains a classifier; what it has come to is in `progress` and the model.

    Args:
        model: the classifier; it ends with the weights of the best epoch.
        batches: what it is shown.
        config: settled.
        class_weights: ``(k,)`` of the loss, or None.
        checkpoint: the file that a killed run continues from.
        identity: digest of everything that decides the training.
        frozen_norms: whether statistics of batch normalisation stay.
        notice: receives one line at a time.
    """

    def __init__(
        self,
        model: Classifier,
        batches: Batches,
        config: FinetuneConfig,
        class_weights: torch.Tensor | None,
        checkpoint: Path,
        identity: str,
        frozen_norms: bool,
        notice: Callable[[str], None],
    ) -> None:
        self._device = choose_device(config.device)
        self._model = model.to(self._device)
        self._batches, self._config, self._notice = batches, config, notice
        self._checkpoint, self._identity, self._frozen = checkpoint, identity, frozen_norms
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
        weights = None if class_weights is None else class_weights.to(self._device)
        self._loss = torch.nn.CrossEntropyLoss(weights, label_smoothing=config.smoothing)
        self._plain = torch.nn.CrossEntropyLoss()
        self._mix = _mixing(model.head.out_features) if config.mode == ALL else None
        self._plan()

    def _plan(self) -> None:
        """Make the schedule: warm-up, then half a cosine, over all steps."""
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

    @property
    def averaged(self) -> torch.nn.Module:
        """The moving average of the weights as the last epoch left it, whichever was the best."""
        average: torch.nn.Module = self._average.module
        return average

    def run(self) -> Progress:
        """Train to the end, from the checkpoint if there is one.

        Raises:
            HeadstartError: the loss was not finite before any epoch was done, or memory does not
                suffice for single images.
            OutputError: a checkpoint cannot be written.
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
        self._conclude()
        return self.progress

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        torch.manual_seed(np.random.SeedSequence([self._config.seed, epoch]).generate_state(1)[0])
        self._model.train()
        if self._frozen:
            freeze_norms(self._model)
        total, right, seen = 0.0, 0, 0
        first = (epoch - 1) * self._batches.steps(self.progress.batch)
        for step, (inputs, classes) in enumerate(
            self._batches.train(epoch, self.progress.batch), first + 1
        ):
            inputs, classes = inputs.to(self._device), classes.to(self._device)
            loss, logits = self._step(inputs, classes, step)
            if not np.isfinite(loss):
                self._stop_wild(epoch)
                return
            total += loss * len(classes)
            right += int((logits.argmax(1) == classes).sum())
            seen += len(classes)
        self._record(epoch, total / seen, right / seen, started)
        self._save()

    def _step(
        self, inputs: torch.Tensor, classes: torch.Tensor, step: int
    ) -> tuple[float, torch.Tensor]:
        self._schedule.step_update(step - 1)
        target = classes
        if self._mix is not None:
            inputs, target = self._mix(inputs, classes)
        with self._arithmetic(), QuickDepthwise():
            logits = self._model(inputs)
        loss = self._loss(logits.float(), target)
        value = float(loss.detach())
        if np.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP)
            self._optimizer.step()
            self._anchor.pull()
            self._average.update(self._model, step)
        return value, logits.detach()

    def _arithmetic(self) -> torch.autocast:
        wanted = self._config.amp and (
            self._device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bool(wanted))

    def _record(self, epoch: int, loss: float, accuracy: float, started: float) -> None:
        """Validate the average of weights and add the epoch to the history."""
        found_loss, found = self._validate()
        record = {
            "epoch": epoch,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_loss": found_loss,
            "validation_accuracy": found,
            "seconds": round(time.perf_counter() - started, 2),
        }
        progress = self.progress
        progress.history.append(record)
        best = next(one for one in progress.history if one["epoch"] == progress.best)
        if epoch and (-found, found_loss) < (-best["validation_accuracy"], best["validation_loss"]):
            progress.best = epoch
            self._best = copy.deepcopy(self._average.module.state_dict())
        if epoch - progress.best >= self._config.patience:
            progress.stopped = f"no better validation in {self._config.patience} epochs"
        trained = "" if not epoch else f"training {accuracy:.1%}, "
        self._notice(
            f"epoch {epoch}: {trained}validation {found:.1%} (loss {found_loss:.3f}), "
            f"{record['seconds']:.0f} s"
        )
        self._watch(record)

    def _validate(self) -> tuple[float, float]:
        model = self._average.module.eval()
        total, right, seen = 0.0, 0, 0
        with torch.inference_mode():
            for inputs, classes in self._batches.validation(self.progress.batch):
                with self._arithmetic():
                    logits = model(inputs.to(self._device)).float().cpu()
                total += float(self._plain(logits, classes)) * len(classes)
                right += int((logits.argmax(1) == classes).sum())
                seen += len(classes)
        return total / seen, right / seen

    def _stop_wild(self, epoch: int) -> None:
        last = int(self.progress.history[-1]["epoch"])
        if not last:
            raise HeadstartError(
                f"the loss was not finite in epoch {epoch}; nothing was trained; use a lower --lr"
            )
        self.progress.stopped = f"the loss was not finite in epoch {epoch}"
        self.progress.remarks.append(
            f"Training stopped: {self.progress.stopped}. The weights are those of epoch "
            f"{self.progress.best}; a lower --lr may help."
        )
        self._notice(f"WARNING: {self.progress.remarks[-1]}")

    def _halve(self, error: BaseException) -> None:
        """Go back to the last epoch that was done, with batches of half the size."""
        if self.progress.batch == 1:
            raise HeadstartError(
                "there is not enough memory to train on single images; use --mode head, or a "
                "smaller network"
            ) from error
        batch = self.progress.batch // 2
        self._resume()
        self.progress.batch = batch
        self._plan()
        self.progress.remarks.append(f"Memory did not suffice; batches have {batch} images now.")
        self._notice(f"WARNING: {self.progress.remarks[-1]}")

    def _watch(self, record: dict[str, float]) -> None:
        """Warn, once, where training accuracy has run away from validation's."""
        gap = record["train_accuracy"] - record["validation_accuracy"]
        if gap > RUNAWAY and not any(one.startswith(_RAN) for one in self.progress.remarks):
            self.progress.remarks.append(
                f"{_RAN}: {record['train_accuracy']:.1%} on training images, "
                f"{record['validation_accuracy']:.1%} on validation images in epoch "
                f"{record['epoch']:.0f}; more images, more --views or training less may help."
            )
            self._notice(f"WARNING: {self.progress.remarks[-1]}")

    def _conclude(self) -> None:
        """Say so where training was of no use."""
        if not self.progress.best:
            self.progress.remarks.append(
                "No epoch was better on the validation images than the frozen network with its "
                "logistic regression, so its weights are what was kept."
            )
            self._notice(f"WARNING: {self.progress.remarks[-1]}")

    def _save(self) -> None:
        state = {
            "identity": self._identity,
            "progress": self.progress.__dict__,
            "model": self._model.state_dict(),
            "average": self._average.module.state_dict(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
        }
        with replacing(self._checkpoint) as partial:
            torch.save(state, partial)

    def _resume(self) -> bool:
        """Take up the checkpoint, if it is one of this very training."""
        try:
            state: dict[str, Any] = torch.load(
                self._checkpoint, map_location=self._device, weights_only=True
            )
            if state["identity"] != self._identity:
                return False
        except Exception:  # none, damaged, or of another version: training starts over
            return False
        again = bool(self.progress.history)
        self.progress = Progress(**state["progress"])
        self._model.load_state_dict(state["model"])
        self._average.module.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self._plan()
        if not again and self.progress.history[-1]["epoch"]:
            self._notice(f"continuing after epoch {self.progress.history[-1]['epoch']}")
        return True


def _mixing(classes: int) -> Callable[[torch.Tensor, torch.Tensor], Any]:
    """Return MixUp or CutMix, one or the other a batch."""
    v2 = import_torchvision("transforms.v2")
    mixing: Callable[[torch.Tensor, torch.Tensor], Any] = v2.RandomChoice(
        [v2.MixUp(alpha=_MIX, num_classes=classes), v2.CutMix(alpha=1.0, num_classes=classes)]
    )
    return mixing


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    known = "out of memory" in text or "not enough memory" in text or "can't allocate" in text
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or known
