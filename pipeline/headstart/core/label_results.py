"""Records of ``results.json`` for several labels on one image, with the field names of the file.

What scores and intervals are of is said in `headstart.core.results`. Scores of a label leave out
the images in which nobody knows whether they have it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from headstart.core.results import (
    Count,
    DuplicateSummary,
    LabelErrorSummary,
    LearningCurve,
    Remark,
    Share,
)
from headstart.core.targets import MULTI_LABEL

Interval = tuple[float, float]
Curve = dict[str, list[float]]


@dataclass(frozen=True)
class LabelHeadResult:
    """The scores of one head.

    Attributes:
        cv_map: macro average precision in cross-validation, the mean over the folds; ``cv_std`` is
            their spread, which is no interval.
        map: mean over the labels of the average precision; like the scores below on the images
            that are scored.
        macro_f1: mean over the labels of F1 at their ``thresholds``; ``macro_f1_at_half`` at 0.5.
        subset_accuracy: share of images of which every known label is right.
        hamming_loss: share of known labels that are wrong.
        calibration_error: how far probabilities are from frequencies, over all images and labels,
            without the part that is chance.
        intervals: 95 % intervals of the scores, by name; None where there is none.
        per_label: by name a list with a value for each label: ``threshold``, ``support``,
            ``known``, ``ap``, ``auc``, ``precision``, ``recall``, ``f1``, ``prevalence``, the
            intervals ``ap_ci`` and so on, and ``reached``, whether the threshold does what was
            asked for; None where a score is not defined.
        curves: the precision-recall curve of each label: ``recall`` and ``precision``.
        verdict: ``best``; ``worse`` or ``better`` if ``p`` is at most 0.05; else ``tie``; empty for
            a baseline.
        difference: macro average precision minus the best head's.
    """

    name: str
    title: str
    params: dict[str, Any]
    cv_map: float
    cv_std: float
    map: float
    micro_f1: float
    macro_f1: float
    macro_f1_at_half: float
    subset_accuracy: float
    hamming_loss: float
    calibration_error: float
    seconds: float
    predict_seconds: float
    verdict: str
    per_label: dict[str, list[Any]]
    intervals: dict[str, Any] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    grid: list[dict[str, Any]] = field(default_factory=list)
    macro_auc: float | None = None
    backbone: str = ""
    approximation: str = ""
    difference: float | None = None
    difference_ci: Interval | None = None
    p: float | None = None


@dataclass(frozen=True)
class LabelGroupAccuracy:
    """The scores of one head's, or model's, answers for groups of images.

    ``image_map`` is the mean average precision of its answers for the same images one by one.
    """

    title: str
    map: Share | None
    map_ci: tuple[float, float] | None
    macro_f1: Share | None
    macro_f1_ci: tuple[float, float] | None
    subset_accuracy: Share | None
    subset_accuracy_ci: tuple[float, float] | None
    image_map: Share | None


@dataclass(frozen=True)
class LabelGroupScores:
    """One answer for each group of scored images; see `core.results.GroupScores`.

    ``contradicting`` counts labels that some images of a group have and others have not; they are
    left out of the scores of that group.
    """

    answer: str
    groups: Count
    images: Count
    single: Count
    contradicting: Count
    leaked: Count
    scores: list[LabelGroupAccuracy]


@dataclass(frozen=True)
class LabelInsights:
    """What the data show besides the comparison of heads.

    Attributes:
        co_occurrence: ``(k, k)`` counts of labelled images that have both labels; the diagonal
            counts those that have the label.
        learning_curve: its accuracies are macro average precisions.
        label_errors: doubtful labels; its ``images`` and those of its tiers count labels of images.
    """

    duplicates: DuplicateSummary
    label_errors: LabelErrorSummary
    co_occurrence: list[list[Count]]
    learning_curve: LearningCurve
    remarks: list[Remark] = field(default_factory=list)
    group_answers: LabelGroupScores | None = None


@dataclass(frozen=True)
class LabelComparison:
    """The content of ``results.json`` of multi-label data; see `core.results.Comparison`."""

    dataset: dict[str, Any]
    extraction: dict[str, Any]
    protocol: dict[str, Any]
    heads: list[LabelHeadResult]
    baselines: list[LabelHeadResult]
    best: str
    best_backbone: str
    backbones: list[dict[str, Any]]
    insights: LabelInsights
    warnings: list[Remark]
    provenance: dict[str, Any]
    conclusion: str = ""

    SCHEMA = 2
    TARGET = MULTI_LABEL

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``results.json`` holds."""
        own = {"schema": self.SCHEMA, "target": self.TARGET}
        return own | dataclasses.asdict(self)
