"""The settings of fine-tuning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from headstart.core.choices import MODES
from headstart.core.errors import InputError

HEAD, TOP, ALL = MODES
FROZEN_NORM_BELOW = 10_000  # training images; with fewer, batch statistics are too noisy

_DEFAULTS: dict[str, dict[str, Any]] = {
    HEAD: {"epochs": 30, "lr": 0.0, "head_lr": 1e-3, "depth_decay": 1.0},
    TOP: {"epochs": 12, "lr": 1e-3, "head_lr": 5e-4, "depth_decay": 0.3},
    ALL: {"epochs": 12, "lr": 2e-4, "head_lr": 1e-3, "depth_decay": 0.1},
}


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune; raises `InputError` for values out of range or in conflict.

    None stands for the mode's default; see `settled`, and `headstart.finetune` for what you choose.

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
    views: int = 8
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
        if self.views < 1 or self.batch < 1 or (self.epochs is not None and self.epochs < 1):
            raise InputError("views, epochs and the batch size must be at least 1")

    def settled(self) -> FinetuneConfig:
        """Return the same with the mode's default in place of every None."""
        defaults = _DEFAULTS[self.mode].items()
        missing = {name: value for name, value in defaults if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)

    def for_mode(self, mode: str) -> FinetuneConfig:
        """Return the settled configuration of another mode, with its own learning rates."""
        boundary = self.boundary if mode == TOP else ""
        return dataclasses.replace(
            self, mode=mode, boundary=boundary, lr=None, head_lr=None, depth_decay=None
        ).settled()
