"""The settings of fine-tuning."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from headstart.core.choices import MODES
from headstart.core.errors import InputError

HEAD, TOP, ALL = MODES
FROZEN_NORM_BELOW = 10_000  # training images; with fewer, batch statistics are too noisy
SHOWN = 18_000  # images in all epochs of `top`, within `TOP_EPOCHS`
TOP_EPOCHS = 6, 12
MOST_VIEWS = 8

_DEFAULTS: dict[str, dict[str, Any]] = {
    HEAD: {"epochs": 30, "lr": 0.0, "head_lr": 1e-3, "depth_decay": 1.0},
    TOP: {"lr": 1e-3, "head_lr": 5e-4, "depth_decay": 0.3},
    ALL: {"epochs": 12, "lr": 2e-4, "head_lr": 1e-3, "depth_decay": 0.1},
}


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune; raises `InputError` for values out of range or in conflict.

    None stands for the default of the mode and the number of images; see `settled`, and
    `headstart.finetune` for what you choose.

    Attributes:
        head_lr: peak learning rate of the classifier; ``lr`` is the base's.
        decay: the share of the distance to the pretrained weights that a step removes, per unit of
            learning rate (L2-SP); for the classifier, weight decay.
        depth_decay: the first trained layer learns at this share of ``lr``, the last at ``lr``.
        smoothing: of labels.
        ema: decay of the moving average of weights.
        warmup: share of the steps.
        amp: whether to compute products in bfloat16 where the processor supports it.
    """

    mode: str = TOP
    boundary: str = ""
    views: int | None = None
    epochs: int | None = None
    batch: int = 32
    lr: float | None = None
    head_lr: float | None = None
    decay: float = 0.05
    depth_decay: float | None = None
    smoothing: float = 0.1
    ema: float = 0.998
    warmup: float = 0.1
    patience: int = 6
    class_weight: str | None = None
    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
    amp: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"no mode {self.mode}; use one of: {', '.join(MODES)}")
        if self.boundary and self.mode != TOP:
            raise InputError(
                f"--from applies to --mode {TOP} only; omit it with --mode {self.mode}"
            )
        if self.batch < 1 or any(n is not None and n < 1 for n in (self.views, self.epochs)):
            raise InputError("views, epochs and the batch size must be at least 1")

    def settled(self, images: int) -> FinetuneConfig:
        """Return the same with defaults in place of every None; ``images`` are trained on.

        Twelve epochs of many images gain nothing over six, and two views suffice for three epochs.
        """
        few, many = TOP_EPOCHS
        epochs = self.epochs or _DEFAULTS[self.mode].get("epochs")
        epochs = epochs or min(many, max(few, round(SHOWN / max(1, images))))
        defaults = {"epochs": epochs, "views": min(MOST_VIEWS, math.ceil(2 * epochs / 3))}
        defaults = _DEFAULTS[self.mode] | defaults
        missing = {k: value for k, value in defaults.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing)

    def for_mode(self, mode: str, images: int) -> FinetuneConfig:
        """Return the settled configuration of another mode, with its own learning rates."""
        boundary = self.boundary if mode == TOP else ""
        return dataclasses.replace(
            self, mode=mode, boundary=boundary, lr=None, head_lr=None, depth_decay=None
        ).settled(images)
