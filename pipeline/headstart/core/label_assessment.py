"""Records of the evaluation of models for several labels on one image; see `core.assessment`.

Scores have the names that they have in ``results.json`` of such data (`core.label_results`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from headstart.core.assessment import Figure, Gate, Skipped
from headstart.core.label_results import Curve, LabelGroupScores
from headstart.core.results import Count, Interval, Remark, Share
from headstart.core.targets import MULTI_LABEL


@dataclass(frozen=True)
class LabelModelScores:
    """The scores of one model; see `core.label_results.LabelHeadResult`.

    Attributes:
        title: the file, as the user named it.
        map: None if no image has any label.
        per_label: by name a list with a value for each label, None where it is not defined;
            ``threshold`` is None throughout for predictions in a file.
        seen: how many of the images the model was trained on; None if that cannot be checked.
        map_unseen: mean average precision on the other images; None without ``seen`` images.
    """

    title: str
    map: Share | None
    macro_auc: Share | None
    macro_f1: Share | None
    micro_f1: Share | None
    subset_accuracy: Share | None
    hamming_loss: Share | None
    calibration_error: Figure | None
    intervals: dict[str, Interval | None]
    per_label: dict[str, list[Any]]
    curves: list[Curve]
    seen: Count | None = None
    map_unseen: Share | None = None
    map_unseen_ci: Interval | None = None


@dataclass(frozen=True)
class WrongLabel:
    """A label that the first model gets wrong on an image: ``present`` says whether it is there."""

    path: str
    label: str
    present: bool
    probability: Share


@dataclass(frozen=True)
class UnscoredLabel:
    """A label that is not scored: the reason, and how many images have it or are said to."""

    label: str
    reason: str
    images: Count


@dataclass(frozen=True)
class ChangedLabel:
    """A label of an image with another answer than before.

    ``present`` says whether it is there, ``after`` whether the first model says so, unlike the
    other one. ``direction`` is ``gain`` (right now) or ``loss`` (wrong now).
    """

    path: str
    label: str
    present: bool
    after: bool
    direction: str
    probability_before: Share
    probability_after: Share


@dataclass(frozen=True)
class LabelChange:
    """The changed answers of one label, and its average precision before and after."""

    label: str
    images: Count
    gains: Count
    losses: Count
    ap_before: Share | None
    ap_after: Share | None


@dataclass(frozen=True)
class LabelDifference:
    """The first model against the second one, on the same images.

    ``difference`` is the macro average precision of the first minus that of the second; the other
    fields are those of `core.assessment.PairedDifference`. ``images`` counts those of which any
    label changed.
    """

    difference: Figure
    difference_ci: Interval
    p: Share
    visible_difference: Share
    verdict: str
    images: Count
    by_label: list[LabelChange]
    changes: list[ChangedLabel]


@dataclass(frozen=True)
class LabelEvaluation:
    """One model, or two, on images with several labels, as `headstart.evaluate` returns it.

    Attributes:
        labels: those that are scored, the order of ``per_label``.
        chance_map: mean average precision of random answers, the mean prevalence.
        errors: of the first model, the most confident first.
        paired: None for a single model.
    """

    data: str
    images: Count
    labels: list[str]
    models: list[LabelModelScores]
    chance_map: Share | None
    errors: list[WrongLabel]
    paired: LabelDifference | None = None
    skipped: list[Skipped] = field(default_factory=list)
    unscored: list[UnscoredLabel] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    group_answers: LabelGroupScores | None = None

    SCHEMA = 1
    TARGET = MULTI_LABEL

    @property
    def passed(self) -> bool:
        """Whether every gate is met."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``headstart evaluate --json`` prints."""
        return {"schema": self.SCHEMA, "target": self.TARGET} | dataclasses.asdict(self)


RECORD = LabelEvaluation
"""What an evaluation of this target is: the module is a part of its type."""
