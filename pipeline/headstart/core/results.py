"""Records of the content of ``results.json``, with the field names of the file.

Scores are of images that the scored model was not fitted on: the test split, which is scored once,
or, with few images and no test split, the out-of-fold answers for all of them. Intervals are 95 %
intervals, ``(low, high)``, for other images of the same kind; see
`headstart.evaluation.metrics.intervals`. `headstart.report.schema` derives the JSON Schema of the
insights from their records.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from headstart.core.targets import SINGLE_LABEL

Count = Annotated[int, "count"]
Share = Annotated[float, "share"]
Interval = Annotated[tuple[float, float], "interval"]


@dataclass(frozen=True)
class HeadResult:
    """The scores of one head.

    Attributes:
        name: the family, such as ``linear-svm``; its ``title`` is ``linear SVM``.
        cv_accuracy: mean over the folds for the best ``params``, or on a predefined validation
            split; ``cv_std`` is the folds' spread, which is no interval.
        test_accuracy: on the images that are scored, see `Comparison.protocol`.
        log_loss: mean, in nats.
        seconds: wall time of search and refit.
        verdict: ``best``; ``worse`` or ``better`` by the sign of ``difference`` if ``p`` is at most
            0.05; else ``tie``; empty for a baseline.
        confusion: counts, rows true, columns predicted: ``(k, k)`` lists, or with many classes
            ``{"shape": [k, k], "cells": [[true, predicted, count], ...]}`` without the zeros.
        grid: the candidates, each ``{"params", "cv_accuracy", "cv_std"}``.
        approximation: replacement of the exact method, or empty.
        roc_auc: macro average, one class against the rest; None for test images of one class.
        ece: expected calibration error, which chance inflates; ``calibration_error`` is the part
            beyond ``calibration_chance``, that of calibrated probabilities on as many images.
        per_class: ``precision``, ``recall``, ``f1`` and ``support``, each a list by class, and
            ``precision_ci`` and ``recall_ci``, their intervals; None for a division by zero.
        reliability: ``images``, ``confidence`` and ``accuracy`` by bins of confidence.
        predict_seconds: wall time to predict all test images from features.
        difference: test accuracy minus the best head's; None for the best head and for baselines,
            like the next four.
        difference_ci: excludes 0 if and only if ``p`` is at most 0.05.
        p: two-sided p-value of the exact test against the best head, adjusted for all heads;
            ``mcnemar_p`` is the one before the adjustment.
        visible_difference: the smallest true difference that these images show with a chance of 80
            %.
        test_accuracy_without_leakage: on the test images that share no group with a training
            image; None if all do, or none.
    """

    name: str
    params: dict[str, Any]
    cv_accuracy: float
    cv_std: float
    test_accuracy: float
    test_accuracy_ci: tuple[float, float]
    macro_f1: float
    log_loss: float
    seconds: float
    verdict: str
    confusion: list[list[int]] | dict[str, Any]
    title: str = ""
    grid: list[dict[str, Any]] = field(default_factory=list)
    backbone: str = ""
    approximation: str = ""
    balanced_accuracy: float | None = None
    roc_auc: float | None = None
    ece: float | None = None
    intervals: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    per_class: dict[str, list[Any]] = field(default_factory=dict)
    reliability: dict[str, list[Any]] = field(default_factory=dict)
    predict_seconds: float | None = None
    difference: float | None = None
    difference_ci: tuple[float, float] | None = None
    mcnemar_p: float | None = None
    p: float | None = None
    visible_difference: float | None = None
    calibration_error: float | None = None
    calibration_chance: float | None = None
    test_accuracy_without_leakage: float | None = None
    test_accuracy_without_leakage_ci: tuple[float, float] | None = None


@dataclass(frozen=True)
class DuplicateSummary:
    """Images that occur more than once; duplicates.csv lists them all.

    ``exact`` counts images whose closest duplicate has the same bytes, and ``rule`` defines
    near-duplicates. Leaked test images have a duplicate among the training images, and label
    conflicts are pairs of duplicates with different labels; both are paths. Duplicates of which one
    has other colours are no conflict: ``recoloured`` counts such images. ``session_images`` in
    ``session_groups`` are different photos on one background; sessions.csv lists them.
    """

    images: Count
    groups: Count
    exact: Count
    near: Count
    rule: str
    leaked_test_images: list[str]
    label_conflicts: list[tuple[str, str]]
    recoloured: Count = 0
    session_images: Count = 0
    session_groups: Count = 0


@dataclass(frozen=True)
class LabelTier:
    """Training images whose labels are about equally doubtful.

    Of ``images``, ``errors`` labels are expected to be wrong, and ``errors_highest`` at the upper
    end of the 95 % interval of the rate of wrong labels.
    """

    tier: str
    images: Count
    errors: float
    errors_highest: float


@dataclass(frozen=True)
class ConfusedClasses:
    """Two classes of which many images look like the other one: where does one end?

    ``first_like_second`` images of the first class look more like the second one.
    """

    first: str
    second: str
    first_like_second: Count
    second_like_first: Count


@dataclass(frozen=True)
class LabelErrorSummary:
    """Training images whose labels may be wrong, by tiers; label_issues.csv lists them.

    Of ``images`` with checked labels, ``suspects`` are in a tier, most of which may be right: see
    the expected errors of each. ``rate`` is the estimated share of wrong labels among all.
    """

    images: Count
    suspects: Count
    method: str
    tiers: list[LabelTier] = field(default_factory=list)
    confused: list[ConfusedClasses] = field(default_factory=list)
    rate: float | None = None


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy after training on this many images, a mean over draws and folds."""

    images: float
    images_per_class: float
    accuracy: Share
    accuracy_ci: Interval


@dataclass(frozen=True)
class FittedLaw:
    """accuracy = ceiling - scale * images ** -exponent."""

    ceiling: float
    scale: float
    exponent: float


@dataclass(frozen=True)
class Doubling:
    """The accuracy that the power law predicts for twice as many training images."""

    images: Count
    accuracy: float
    accuracy_ci: Interval
    gain: float
    gain_ci: Interval


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy of the best head by number of training images, on folds of the training images.

    ``fit`` and ``doubling`` are None if there are too few sizes to fit a power law.
    """

    head: str
    backbone: str
    points: list[CurvePoint]
    fit: FittedLaw | None
    doubling: Doubling | None


@dataclass(frozen=True)
class Remark:
    """Something about the data or the search that a reader should look at.

    `headstart.core.remark_kinds` says what the ``code`` means, and its ``topic``. Both are empty in
    results of versions without codes.
    """

    topic: str
    text: str
    code: str


@dataclass(frozen=True)
class RiskPoint:
    """Accuracy if only this share of images is answered, the most confident ones."""

    share: Share
    threshold: Share
    accuracy: Share
    accuracy_ci: Interval


@dataclass(frozen=True)
class OperatingPoint:
    """A confidence from which on answers are right as often as the target says.

    The promise holds with 95 % confidence, or is not ``reached``: then the point is where these
    images show the most, and ``bound``, the one-sided lower bound of the accuracy, is what can be
    promised. Of the training images, out of fold, ``share`` has that confidence, with this
    ``accuracy``; the same of the test images, None without a test split or without such an image.
    """

    target: Share
    reached: bool
    threshold: Share
    share: Share
    accuracy: Share
    accuracy_ci: Interval
    bound: Share
    test_share: Share | None = None
    test_share_ci: Interval | None = None
    test_accuracy: Share | None = None
    test_accuracy_ci: Interval | None = None


@dataclass(frozen=True)
class OperatingPoints:
    """Thresholds of the shipped head's confidence, and its risk-coverage curve, out of fold.

    Those of a fine-tuned network are of the validation images, which also chose its epoch.
    """

    head: str
    backbone: str
    images: Count
    points: list[OperatingPoint]
    curve: list[RiskPoint]


@dataclass(frozen=True)
class SetScores:
    """What conformal sets of one kind do on the test images.

    ``coverage`` is the share of images whose set holds the true class, ``mean_size`` the number of
    classes in a set, and ``single`` the share of sets with one class.
    """

    kind: str
    coverage: Share
    coverage_ci: Interval
    mean_size: float
    single: Share


@dataclass(frozen=True)
class PredictionSets:
    """Conformal sets of classes, calibrated out of fold; see `core.prediction_sets.SetRule`.

    Without a test split there are no ``tested`` scores.
    """

    level: Share
    mass: Share
    least: list[Share]
    tested: list[SetScores] = field(default_factory=list)


@dataclass(frozen=True)
class CostScores:
    """The mean cost of an image by a table of costs.

    ``cost`` is that of the most probable classes, and ``decided`` that of the classes of least
    expected cost, which have this ``accuracy``; the difference is ``saved``. All but ``cost`` are
    None without probabilities.
    """

    cost: float
    decided: float | None = None
    saved: float | None = None
    saved_ci: Interval | None = None
    accuracy: Share | None = None


@dataclass(frozen=True)
class GroupAccuracy:
    """The accuracy of one head's, or model's, answers for groups of images.

    ``image_accuracy`` is that of its answers for the same images one by one. The ``difference`` is
    the accuracy minus that of the first, with an exact paired test; None for the first.
    """

    title: str
    accuracy: Share
    accuracy_ci: Interval
    image_accuracy: Share
    difference: float | None = None
    difference_ci: Interval | None = None
    p: Share | None = None


@dataclass(frozen=True)
class WrongGroup:
    """A group that the first head or model gets wrong, with the probability of its answer."""

    group: str
    images: Count
    true: str
    predicted: str
    probability: Share


@dataclass(frozen=True)
class GroupScores:
    """One answer for each group of scored images, such as those of a patient or a burst.

    Attributes:
        answer: how a group gets it, one of `core.choices.GROUP_ANSWERS`.
        groups: those that are scored, with ``images`` in all; ``single`` of them have one image.
        contradicting: groups whose images have several labels, which are not scored.
        leaked: groups that share images with training, which are not scored.
        scores: of each head or model; empty if no group can be scored.
        errors: of the first one, the most confident first.
        operating_points: thresholds of the confidence of groups, chosen on those of training; their
            ``images`` are groups. None of finished models, and without probabilities.
        prediction_sets: conformal sets of groups, in the same way.
    """

    answer: str
    groups: Count
    images: Count
    single: Count
    contradicting: Count
    leaked: Count
    scores: list[GroupAccuracy]
    errors: list[WrongGroup]
    operating_points: OperatingPoints | None = None
    prediction_sets: PredictionSets | None = None


@dataclass(frozen=True)
class Insights:
    """What the features show besides the comparison of heads; the report has a section on each."""

    duplicates: DuplicateSummary
    label_errors: LabelErrorSummary
    learning_curve: LearningCurve | None
    remarks: list[Remark] = field(default_factory=list)
    operating_points: OperatingPoints | None = None
    prediction_sets: PredictionSets | None = None
    group_answers: GroupScores | None = None
    costs: CostScores | None = None


@dataclass(frozen=True)
class Comparison:
    """The result of `headstart.evaluation.compare`, which is the content of ``results.json``.

    Attributes:
        dataset: name, classes, images by split and class, failures, origin of the test split.
        extraction: document and digest of the best head's features.
        protocol: folds, seed, tuning, and what the scores are of: ``scored_on`` is ``test split``
            or ``out of fold``, and ``n_test`` counts the images that are scored.
        heads: in order of cross-validated accuracy; the first is the ``best``.
        baselines: the most frequent class, and raw pixels if a store has them.
        warnings: what you must know before you rely on the scores.
        conclusion: what to do with the verdicts, in a sentence.
        backbones: for each store ``backbone``, ``digest``, ``document`` (the extraction), ``dim``
            and ``scores``, by which you can choose a backbone before training.
        provenance: software versions, machine, time, digest of the inputs.
    """

    dataset: dict[str, Any]
    extraction: dict[str, Any]
    protocol: dict[str, Any]
    heads: list[HeadResult]
    baselines: list[HeadResult]
    best: str
    best_backbone: str
    backbones: list[dict[str, Any]]
    insights: Insights
    warnings: list[Remark]
    provenance: dict[str, Any]
    conclusion: str = ""

    SCHEMA = 4
    TARGET = SINGLE_LABEL

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``results.json`` holds."""
        return {"schema": self.SCHEMA} | dataclasses.asdict(self)
