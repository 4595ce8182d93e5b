"""What the frozen features are worth, which advice on fine-tuning starts from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart.core.results import LearningCurve

if TYPE_CHECKING:
    from headstart.finetune.model import Start


@dataclass(frozen=True)
class Frozen:
    """The scores of logistic regression on the frozen features of the training images.

    Attributes:
        score: the cross-validated score, under its name.
        logme: see `headstart.evaluation.transferability`.
        start: the weights of the classifier.
        error: the share of wrong answers, from which recorded runs predict what training adds;
            None if there are none of such images.
    """

    score: dict[str, float]
    curve: LearningCurve
    logme: float
    start: Start
    error: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the score, the learning curve and LogME."""
        facts = dataclasses.asdict(self.curve)
        return {
            **self.score,
            "learning_curve": {name: facts[name] for name in ("points", "fit", "doubling")},
            "logme": self.logme,
        }
