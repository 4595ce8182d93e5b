"""What is to be fine-tuned, and how."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.core.choices import MODES
from headstart.core.errors import InputError

HEAD, TOP, ALL = MODES
FROZEN_NORM_BELOW = 10_000  # training images: with fewer, statistics of batches are noise


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune. None stands for what suits the mode, see `settled`.

    Attributes:
        mode: ``head`` trains a new classifier on the frozen base, ``top`` the layers behind a
            boundary as well, ``all`` everything.
        boundary: the last frozen layer of ``top``; empty for the input of the last stage.
        views: how many views of every training image are cached; view 0 is the plain crop.
        epochs: at most; early stopping may end sooner.
        batch: images a step.
        lr: peak learning rate of the base; the classifier's is ``head_lr``.
        head_lr: peak learning rate of the classifier.
        decay: the share of the distance to the pretrained weights that is given back in a step, per
            unit of learning rate (L2-SP); for the classifier, weight decay.
        depth_decay: the first trained layer learns with this share of ``lr``, the last with all.
        smoothing: of labels.
        ema: decay of the moving average of weights.
        warmup: share of the steps.
        patience: epochs without a better validation before it stops.
        class_weight: ``balanced`` or None.
        seed: of everything random.
        device: one of `headstart.core.choices.TRAINING_DEVICES`.
        workers: threads; None means one per core.
        amp: whether products are computed in bfloat16 where the processor has it.
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
        """Refuse what makes no sense before any work.

        Raises:
            InputError: a value is out of range, or two contradict each other.
        """
        if self.mode not in MODES:
            raise InputError(f"no mode {self.mode}; use one of: {', '.join(MODES)}")
        if self.boundary and self.mode != TOP:
            raise InputError(f"--from is for --mode {TOP}; leave it out with --mode {self.mode}")
        if self.views < 1 or self.batch < 1 or (self.epochs is not None and self.epochs < 1):
            raise InputError("views, epochs and the batch size must be 1 or more")

    def settled(self) -> FinetuneConfig:
        """Return the same with a number in every place."""
        import dataclasses

        epochs, lr, head_lr, depth = {
            HEAD: (30, 0.0, 1e-3, 1.0),
            TOP: (12, 1e-3, 5e-4, 0.3),
            ALL: (12, 2e-4, 1e-3, 0.1),
        }[self.mode]
        given = dataclasses.asdict(self)
        chosen = {"epochs": epochs, "lr": lr, "head_lr": head_lr, "depth_decay": depth}
        return FinetuneConfig(
            **given | {key: value for key, value in chosen.items() if given[key] is None}
        )
