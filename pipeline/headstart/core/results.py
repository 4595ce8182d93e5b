"""What ``results.json`` holds, as records; field names are those of the file.

Scores are of the test split, which is scored once. An interval is a 95 % bootstrap interval,
``(low, high)``. The JSON Schema of the insights is derived from their records, see
`headstart.report.schema`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

Count = Annotated[int, "count"]
Share = Annotated[float, "share"]
Interval = Annotated[tuple[float, float], "interval"]


@dataclass(frozen=True)
class HeadResult:
    """The scores of one head.

    Attributes:
        name: the family, for instance ``linear-svm``; its ``title`` is ``linear SVM``.
        cv_accuracy: mean accuracy over the folds at the chosen ``params``; with a predefined
            validation split, the accuracy on it.
        log_loss: mean negative log-probability of the true class, in nats.
        seconds: wall time of search and refit.
        verdict: ``best``; ``worse`` where the interval of ``difference`` lies below 0, else
            ``tie``; empty for a baseline.
        confusion: counts, rows true, columns predicted: ``(k, k)`` lists, or with many classes
            ``{"shape": [k, k], "cells": [[true, predicted, count], ...]}`` without the zeros.
        grid: the candidates tried, each ``{"params", "cv_accuracy", "cv_std"}``.
        backbone: whose features it reads; empty for a baseline.
        approximation: what replaced the exact method; empty if nothing.
        roc_auc: mean area under the ROC curves of each class against the rest; None if the test
            images are of one class.
        ece: expected calibration error.
        per_class: ``precision``, ``recall``, ``f1`` and ``support`` as lists in the order of the
            classes; None where a ratio divides by zero.
        reliability: ``images``, ``confidence`` and ``accuracy`` by bins of confidence.
        predict_seconds: wall time of the probabilities of all test images, from features.
        difference: test accuracy minus the best head's, with an interval from the same resampled
            images for both; None for the best and for baselines.
        mcnemar_p: exact two-sided p-value of the hypothesis that both are right equally often.
        test_accuracy_without_leakage: accuracy on the test images that share no group with a
            training image; None if all do, or none.
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
    test_accuracy_without_leakage: float | None = None
    test_accuracy_without_leakage_ci: tuple[float, float] | None = None


@dataclass(frozen=True)
class DuplicateSummary:
    """Images that occur more than once; duplicates.csv lists them all.

    Attributes:
        exact: images whose closest duplicate has the same bytes.
        rule: when two images count as near-duplicates.
        leaked_test_images: paths of test images with a duplicate among the training images.
        label_conflicts: pairs of paths of duplicates with different labels.
    """

    images: Count
    groups: Count
    exact: Count
    near: Count
    rule: str
    leaked_test_images: list[str]
    label_conflicts: list[tuple[str, str]]


@dataclass(frozen=True)
class LabelErrorSummary:
    """Training images whose labels are probably wrong; label_issues.csv lists them.

    Attributes:
        images: training images whose labels were judged.
        suspects: those whose label is in doubt.
    """

    images: Count
    suspects: Count
    method: str


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

    ``fit`` and ``doubling`` are None where there are too few sizes to fit a law.
    """

    head: str
    backbone: str
    points: list[CurvePoint]
    fit: FittedLaw | None
    doubling: Doubling | None


@dataclass(frozen=True)
class Insights:
    """What the features show besides the comparison of heads; the report has a section on each."""

    duplicates: DuplicateSummary
    label_errors: LabelErrorSummary
    learning_curve: LearningCurve | None


@dataclass(frozen=True)
class Comparison:
    """The record of `headstart.evaluation.compare`: the content of ``results.json``.

    Attributes:
        dataset: name, classes, images by split and class, failures, origin of the test split.
        extraction: document and digest of the features that the best head reads.
        protocol: folds, seed, what was tuned on what, how often the test split was used.
        heads: the trained heads, by cross-validated accuracy; the first is the ``best``.
        baselines: most-frequent class, and raw pixels when a store has them.
        backbones: one entry a store, in the order of the stores: ``backbone``, ``digest``,
            ``document`` (the extraction), ``dim`` and ``scores``, by which a backbone can be
            chosen before any head is trained.
        warnings: plain sentences that a reader must see.
        provenance: software versions, machine, time, the inputs' digest.
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
    warnings: list[str]
    provenance: dict[str, Any]

    SCHEMA = 2

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``results.json`` holds."""
        return {"schema": self.SCHEMA} | dataclasses.asdict(self)
