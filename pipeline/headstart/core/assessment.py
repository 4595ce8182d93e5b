"""Records of the evaluation of finished models: the document of ``headstart evaluate --json``.

Scores have the names that they have in ``results.json`` (`headstart.core.results`), and intervals
are 95 % intervals for other images of the same kind.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from headstart.core.results import CostScores, Count, GroupScores, Interval, Remark, Share
from headstart.core.targets import SINGLE_LABEL

Figure = Annotated[float, "figure"]


@dataclass(frozen=True)
class MeasuredPoint:
    """A threshold of the model's confidence, for a target, and what it does on these images.

    ``share`` of the images are answered, with this ``accuracy``; None if none is.
    """

    target: Share
    threshold: Share
    share: Share
    share_ci: Interval
    accuracy: Share | None
    accuracy_ci: Interval | None


@dataclass(frozen=True)
class ModelScores:
    """The scores of one model.

    Attributes:
        title: the file, as the user named it.
        classes: the order of ``per_class`` and ``confusion``.
        log_loss: None, like ``roc_auc``, ``ece``, the calibration error and ``reliability``, for
            predictions without probabilities.
        costs: what the answers cost; None without a table of costs.
        operating_points: the thresholds that the model brings along.
        group_operating_points: those that it has for answers of groups made in this way, where
            ``share`` and ``accuracy`` are of groups.
        seen: how many of the images the model was trained on; None if that cannot be checked.
        accuracy_unseen: accuracy on the other images; None without ``seen`` images, or others.
    """

    title: str
    classes: list[str]
    accuracy: Share
    accuracy_ci: Interval
    balanced_accuracy: Share
    macro_f1: Share
    log_loss: Figure | None
    roc_auc: Share | None
    ece: Share | None
    calibration_error: Share | None
    calibration_chance: Share | None
    intervals: Annotated[dict[str, tuple[float, float] | None], "head/properties/intervals"]
    per_class: Annotated[dict[str, list[Any]], "head/properties/per_class"]
    reliability: Annotated[dict[str, list[Any]], "head/properties/reliability"] | None
    confusion: Annotated[list[list[int]] | dict[str, Any], "confusion"]
    operating_points: list[MeasuredPoint] = field(default_factory=list)
    group_operating_points: list[MeasuredPoint] = field(default_factory=list)
    costs: CostScores | None = None
    seen: Count | None = None
    accuracy_unseen: Share | None = None
    accuracy_unseen_ci: Interval | None = None


@dataclass(frozen=True)
class Baseline:
    """The accuracy of always answering the most frequent class of the images."""

    label: str
    accuracy: Share
    accuracy_ci: Interval


@dataclass(frozen=True)
class Skipped:
    """Images that are not scored: the reason, how many, and the label if that is the reason."""

    reason: str
    images: Count
    label: str = ""


@dataclass(frozen=True)
class Misclassified:
    """An image that the first model gets wrong, with the probability of its answer if known."""

    path: str
    true: str
    predicted: str
    probability: Share | None


@dataclass(frozen=True)
class Change:
    """An image with another answer than before.

    ``direction`` is ``gain`` (wrong before, right now), ``loss`` or ``other`` (both wrong).
    Probabilities are those of the answers, None if they are unknown.
    """

    path: str
    true: str
    before: str
    after: str
    direction: str
    probability_before: Share | None
    probability_after: Share | None


@dataclass(frozen=True)
class ClassChange:
    """The changed images of one true class, and its recall before and after."""

    label: str
    images: Count
    gains: Count
    losses: Count
    recall_before: Share
    recall_after: Share


@dataclass(frozen=True)
class PairedDifference:
    """The first model against the second one, on the same images.

    ``difference`` is the accuracy of the first minus that of the second, and its interval excludes
    0 if and only if ``p``, of the exact McNemar test, is at most 0.05. The ``verdict`` on the first
    is ``better``, ``worse`` or ``tie``. ``visible_difference`` is the smallest true difference that
    these images show with a chance of 80 %.
    """

    difference: Figure
    difference_ci: Interval
    p: Share
    visible_difference: Share
    verdict: str
    by_class: list[ClassChange]
    changes: list[Change]


@dataclass(frozen=True)
class Gate:
    """A condition for deployment, whether it is met, and why, in a sentence."""

    rule: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Evaluation:
    """One model, or two, on labelled images, as `headstart.evaluate` returns it.

    Attributes:
        data: the name of the images' source.
        images: those that are scored, the same ones for both models.
        models: the model, and the one that it is compared with, if any.
        errors: of the first model, the most confident first.
        paired: None for a single model.
        group_answers: one answer for each group of images; None without groups.
        provenance: version of Headstart, command and time.
    """

    data: str
    images: Count
    models: list[ModelScores]
    baseline: Baseline
    errors: list[Misclassified]
    paired: PairedDifference | None = None
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    group_answers: GroupScores | None = None

    SCHEMA = 1
    TARGET = SINGLE_LABEL

    @property
    def passed(self) -> bool:
        """Whether every gate is met."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``headstart evaluate --json`` prints."""
        return {"schema": self.SCHEMA} | dataclasses.asdict(self)


RECORD = Evaluation
"""What an evaluation of this target is: the module is a part of its type."""
