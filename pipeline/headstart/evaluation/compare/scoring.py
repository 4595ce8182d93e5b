"""Scores and verdict of each head, from its probabilities on the test images."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import count
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import GroupScores, HeadResult, Remark
from headstart.evaluation import group_answers, metrics
from headstart.evaluation.group_answers import Grouping, ImageAnswers, Scored
from headstart.evaluation.splits import Protocol
from headstart.heads import HEADS, mean
from headstart.heads.search import FittedHead

LARGE_MODEL = 100  # MB; a head that adds more to the model file gets a warning
NAMED = 3  # heads that the conclusion names; with more, it counts them
DENSE_CLASSES = 100  # with more, a confusion matrix is written without its zeros


@dataclass(frozen=True)
class Entry:
    """One row of the leaderboard: a fitted head and its probabilities on the test images.

    Attributes:
        backbone: whose features it reads; empty for a baseline.
        head: its estimator takes raw ``(n, d) float32`` features; its ``classes_`` are codes into
            ``FeatureSet.classes``, without classes that have no training images.
        probabilities: ``(n_test, k) float64``.
        predict_seconds: wall time of the probabilities.
    """

    backbone: str
    data: FeatureSet
    head: FittedHead
    probabilities: NDArray[np.float64]
    predict_seconds: float

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The most probable class of each test image, ``(n_test,)`` codes."""
        predicted: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return predicted


@dataclass(frozen=True)
class HeldOut:
    """The images that heads are scored on; arrays are ``(n_test,)``.

    ``leaked`` images share a group with a training image. If answers are ``out_of_fold``, heads
    were chosen on the images that they are scored on.
    """

    true: NDArray[np.int32]
    group: NDArray[np.intp]
    leaked: NDArray[np.bool_]
    seed: int
    out_of_fold: bool = False

    @classmethod
    def of(cls, data: FeatureSet, protocol: Protocol, seed: int) -> HeldOut:
        """Return the scored images of a protocol."""
        test = protocol.test
        group, leaked = protocol.group[test], protocol.leaked
        return cls(data.label[test], group, leaked, seed, protocol.out_of_fold)

    @property
    def rules(self) -> Scored:
        """How groups of these images are scored."""
        return Scored(self.group, self.leaked, self.worth, self.out_of_fold)

    @property
    def worth(self) -> float:
        """What an answer is worth, in answers for a test split; see `metrics.design.Design`."""
        return metrics.OUT_OF_FOLD if self.out_of_fold else 1.0

    def without_leakage(
        self, correct: NDArray[np.bool_]
    ) -> tuple[float | None, metrics.Interval | None]:
        """Return accuracy and interval on the images that share no group with a training image.

        Both are None if that is every test image, or none.
        """
        apart = ~self.leaked
        if apart.all() or not apart.any():
            return None, None
        rest = correct[apart]
        return float(rest.mean()), metrics.accuracy_interval(rest, self.group[apart])


def score_heads(entries: Sequence[Entry], test: HeldOut) -> list[HeadResult]:
    """Score every head, and compare each with the first one on the same images.

    A head is ``worse`` or ``better`` if the exact test, adjusted for all heads, says so: see
    `metrics.compare_with`. Otherwise it is a ``tie``. A better head is not chosen, which would be
    selecting on the test set; `about_the_choice` warns of it.
    """
    best = entries[0].predicted == test.true
    others = [entry.predicted == test.true for entry in entries[1:]]
    results = [_result(entries[0], test, "best")]
    comparisons = metrics.compare_with(best, others, test.group, test.out_of_fold)
    for entry, correct, compared in zip(entries[1:], others, comparisons, strict=True):
        side = "worse" if compared.difference < 0 else "better"
        results.append(
            dataclasses.replace(
                _result(entry, test, side if compared.decided else "tie"),
                difference=compared.difference,
                difference_ci=compared.interval,
                p=compared.p,
                mcnemar_p=metrics.mcnemar(correct, best, test.group),
                visible_difference=compared.visible,
            )
        )
    return results


def score_baselines(entries: Sequence[Entry], test: HeldOut) -> list[HeadResult]:
    """Score the baselines, which have no verdict."""
    return [_result(entry, test, "") for entry in entries]


def score_groups(
    entries: Sequence[Entry], heads: Sequence[HeadResult], test: HeldOut, grouping: Grouping
) -> GroupScores:
    """Score every head's answers for groups of the scored images."""
    titles = name_heads(heads, heads, "title")
    answers = [image_answers(*pair) for pair in zip(titles, entries, strict=True)]
    return group_answers.score(grouping, test.true, answers, entries[0].data.classes, test.rules)


def image_answers(title: str, entry: Entry) -> ImageAnswers:
    """Return a head's answers for the scored images, for groups of them."""
    k = len(entry.data.classes)
    return ImageAnswers.of_classes(title, entry.probabilities, entry.predicted, k)


def about_the_choice(results: Sequence[HeadResult]) -> list[Remark]:
    """Return a warning if a head is measurably better on the test images than the chosen one."""
    better = [
        result
        for result in results
        if result.difference_ci is not None and result.difference_ci[0] > 0
    ]
    return warn_of_better(name_heads(better, results, "title"), results[0].title)


def warn_of_better(titles: Sequence[str], chosen: str) -> list[Remark]:
    """Return a warning that heads of these titles did better than the chosen one; none for none."""
    if not titles:
        return []
    return [
        remark(
            "HS102",
            f"On the scored images {', '.join(titles)} {'is' if len(titles) == 1 else 'are'}"
            f" measurably better than {chosen}, which cross-validation chose. The choice is kept:"
            " selecting on the scored images would bias its score. More data would settle it.",
        )
    ]


def conclude(results: Sequence[HeadResult], test: HeldOut) -> str:
    """Return what to do with the verdicts, in a sentence or two; empty if every image leaked."""
    if test.leaked.all():
        return ""
    best, *others = results
    ties = [head for head in others if head.verdict == "tie"]
    worse = [head for head in others if head.verdict == "worse"]
    better = [head for head in others if head.verdict == "better"]
    (use,) = name_heads([best], results)
    if not others:
        return f"Use {use}; no other head was trained."
    if better:
        rivals = count_heads(better, results)
        return f"Use {use}, or add images: {rivals} did better on the scored images."
    if not ties:
        behind = count_heads(worse, results)
        return f"Use {use}: it is more accurate than {behind}, by more than chance."
    visible = max(head.visible_difference or 0.0 for head in ties)
    text = (
        f"Use {use}, or choose between it and {count_heads(ties, results)} by speed, size or"
        " probabilities: their accuracies differ by no more than chance, and a true difference"
        f" below about {100 * visible:.1f} points would probably stay hidden."
    )
    avoid = (
        f" Avoid {count_heads(worse, results)}: less accurate by more than chance." if worse else ""
    )
    return text + avoid


class Named(typing.Protocol):
    """What a leaderboard names of a head; results of every target have it."""

    @property
    def name(self) -> str:
        """The identifier on the command line."""

    @property
    def backbone(self) -> str:
        """Whose features it reads."""


def name_heads(heads: Sequence[Named], table: Sequence[Named], form: str = "name") -> list[str]:
    """Name heads, or give their titles, and their backbones if the table has several."""
    several = len({head.backbone for head in table}) > 1
    names = [str(getattr(head, form)) for head in heads]
    if not several:
        return names
    return [f"{name} on {head.backbone}" for name, head in zip(names, heads, strict=True)]


def count_heads(heads: Sequence[Named], table: Sequence[Named]) -> str:
    """Name a few heads of a leaderboard, and count more."""
    names = name_heads(heads, table)
    if len(names) == len(table) - 1 > 1:
        return f"the {len(names)} other heads"
    if len(names) > NAMED:
        return f"{len(names)} other heads"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def about_leakage(results: Sequence[HeadResult], test: HeldOut) -> list[Remark]:
    """Return what the test split says of the chosen head where images of it leaked."""
    best, apart = results[0], int((~test.leaked).sum())
    if not test.leaked.any():
        return []
    if not apart:
        return [
            remark(
                "HS313",
                "No test image is independent of the training images, so no test accuracy says how"
                f" the model does on new images. In cross-validation {best.title} has"
                f" {best.cv_accuracy:.1%}. Take other images for the test split, or leave it out:"
                " Headstart then holds out images that share no group with the others.",
            )
        ]
    accuracy, interval = best.test_accuracy_without_leakage, best.test_accuracy_without_leakage_ci
    if accuracy is None or interval is None:
        return []
    return [
        remark(
            "HS311",
            f"Without leakage {best.title} has {accuracy:.1%} test accuracy"
            f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f}), on {count(apart, 'test image')}.",
        )
    ]


def rank(entry: Entry) -> float:
    """Order heads by cross-validated accuracy, best first."""
    return -entry.head.cv_accuracy


def about_size(best: Entry) -> list[Remark]:
    """Return a warning if the best head keeps enough training rows to make its file large."""
    rows, dim = best.head.n_rows, best.data.features.shape[1]
    size = 4 * rows * dim / 1e6
    keeping = [name for name in mean.members(best.head) if HEADS[name].keeps_rows]
    if not keeping or size < LARGE_MODEL:
        return []
    return [
        remark(
            "HS103",
            f"{best.head.title} keeps the features of its training images: {rows:,} × {dim:,}"
            f" values make model.onnx about {size:,.0f} MB larger and predictions slower than with"
            " any other head. Leave it out with --heads if that matters.",
        )
    ]


def _result(entry: Entry, test: HeldOut, verdict: str) -> HeadResult:
    head = entry.head
    without, without_ci = test.without_leakage(entry.predicted == test.true)
    measured = scores(test.true, entry.probabilities, test.seed, test.group, test.worth)
    return HeadResult(
        name=head.name,
        title=head.title,
        backbone=entry.backbone,
        approximation=head.approximation,
        params=head.params,
        cv_accuracy=head.cv_accuracy,
        cv_std=head.cv_std,
        test_accuracy=measured.pop("accuracy"),
        test_accuracy_ci=measured.pop("accuracy_ci"),
        **measured,
        seconds=round(head.seconds, 3),
        predict_seconds=round(entry.predict_seconds, 4),
        grid=head.grid,
        test_accuracy_without_leakage=without,
        test_accuracy_without_leakage_ci=without_ci,
        verdict=verdict,
    )


def scores(
    true: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    seed: int,
    group: NDArray[np.intp] | None = None,
    worth: float = 1.0,
) -> dict[str, Any]:
    """Return every score of a classifier with its interval, by the names of `HeadResult`.

    ``true`` are ``(n,)`` codes of classes, ``probabilities`` are ``(n, k)``, and images with equal
    numbers in ``group``, ``(n,)``, belong together. ``worth`` is that of an answer, see
    `metrics.design.Design`. The accuracy is ``accuracy``, its interval ``accuracy_ci``.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct, k = predicted == true, probabilities.shape[1]
    of_classes = metrics.class_scores(true, predicted, k)
    intervals = metrics.score_intervals(true, probabilities, seed, group, worth)
    calibration = metrics.calibration(correct, confidence, seed, group)
    return {
        "accuracy": metrics.accuracy(true, predicted),
        "accuracy_ci": intervals.pop("accuracy") or (0.0, 1.0),
        "balanced_accuracy": of_classes.balanced_accuracy,
        "macro_f1": of_classes.macro_f1,
        "log_loss": metrics.log_loss(true, probabilities),
        "roc_auc": metrics.roc_auc(true, probabilities)[0],
        "ece": metrics.expected_calibration_error(correct, confidence),
        "intervals": intervals,
        "calibration_error": calibration.error,
        "calibration_chance": calibration.chance,
        "per_class": _columns(of_classes) | _class_intervals(true, predicted, k, worth),
        "reliability": _columns(metrics.reliability(correct, confidence)),
        "confusion": _confusion(true, predicted, k),
    }


def _class_intervals(
    true: NDArray[np.integer], predicted: NDArray[np.intp], k: int, worth: float
) -> dict[str, list[Any]]:
    """Return the intervals of precision and recall, None for a class without images."""
    columns = metrics.class_intervals(true, predicted, k, worth)
    return {name: [ends or None for ends in column] for name, column in columns.items()}


def _columns(table: metrics.ClassScores | metrics.Reliability) -> dict[str, list[Any]]:
    """Return a table's columns as JSON lists, with None for NaN."""
    return {
        name: [None if math.isnan(value) else value for value in column.tolist()]
        for name, column in table._asdict().items()
    }


def _confusion(
    true: NDArray[np.integer], predicted: NDArray[np.intp], k: int
) -> list[list[int]] | dict[str, Any]:
    if k <= DENSE_CLASSES:
        dense: list[list[int]] = metrics.confusion(true, predicted, k).tolist()
        return dense
    pairs, counts = np.unique(np.column_stack([true, predicted]), axis=0, return_counts=True)
    return {"shape": [k, k], "cells": np.column_stack([pairs, counts]).tolist()}
