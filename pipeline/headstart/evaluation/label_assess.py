"""Scores of finished models for several labels on labelled images; see `evaluation.assess`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from headstart.core.assessment import Skipped
from headstart.core.errors import InputError, UsageError, count, one_line
from headstart.core.group_answers import MEAN
from headstart.core.label_assessment import (
    ChangedLabel,
    LabelChange,
    LabelDifference,
    LabelEvaluation,
    LabelModelScores,
    UnscoredLabel,
    WrongLabel,
)
from headstart.core.label_results import LabelGroupScores
from headstart.core.records import ImageRef
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation import group_answers
from headstart.evaluation.answers import LabelAnswers
from headstart.evaluation.assess import (
    FEW,
    NO_ANSWER,
    about_training,
    about_unanswered,
    named,
)
from headstart.evaluation.compare.multilabel.scoring import measure
from headstart.evaluation.group_answers import Grouping, ImageAnswers
from headstart.evaluation.label_predictions import LabelTable
from headstart.evaluation.metrics import multilabel as metrics

Labels = NDArray[np.int8]

_UNKNOWN = "no label of the model"
_ALONE = "no label of both models"
_ABSENT = "no image has it"


def truths(classes: Sequence[str], refs: Sequence[ImageRef]) -> LabelTable:
    """Return the labels of images, of these ``classes``."""
    return LabelTable.of(classes, [ref.labels for ref in refs])


def answers(title: str, model: Any, predictions: Sequence[Any]) -> LabelAnswers:  # noqa: ANN401
    """Return the answers of a `headstart.models.Model`, from its predictions for all images."""
    k = len(model.classes)
    names = np.array(model.classes)
    trained_on = None
    if model.trained_on is not None:
        trained_on = np.array([bool(each.trained_on) for each in predictions])
    return LabelAnswers(
        title,
        model.classes,
        np.array([np.isin(names, each.labels) for each in predictions], bool).reshape(-1, k),
        np.array([each.probabilities if not each.error else [np.nan] * k for each in predictions]),
        trained_on,
        True,
        tuple(model.label_thresholds.tolist()),
    )


def check_costs(costs: Path, classes: Sequence[str] | None) -> NoReturn:
    """Raise a `UsageError`: a table of ``costs`` needs one class an image."""
    raise UsageError("costs are for one class an image; leave out --costs")


def assess(
    data: str,
    paths: Sequence[str],
    labels: LabelTable,
    models: Sequence[LabelAnswers],
    group: NDArray[np.intp] | None = None,
    seed: int = 0,
    costs: Path | None = None,
    grouping: Grouping | None = None,
) -> LabelEvaluation:
    """Score one model, or two on the same images, on the labels that all of them know.

    An image counts if anything is known of its labels and all models could use it. A label counts
    if ``labels`` and all models have it; the others are ``unscored``.

    Raises:
        InputError: no image or no label is left, or groups cannot get an answer.
        UsageError: there is a table of ``costs``, which needs one class an image.
    """
    if costs is not None:
        check_costs(costs, None)
    common = check_labels(data, labels, [model.classes for model in models])
    unscored = [*_unscored(labels, models, common)]
    table = labels.of_labels(common)
    models = [model.of_labels(common) for model in models]
    rows, skipped = _scored(table, models)
    if not len(rows):
        reasons = "; ".join(f"{count(each.images, 'image')} with {each.reason}" for each in skipped)
        raise InputError(f"{one_line(data)} has no image to score: {reasons}")
    table, used = table[rows], [model.take(rows) for model in models]
    own = None if group is None else group[rows]
    shown = [paths[row] for row in rows]
    prevalence = metrics.per_label(table, used[0].probabilities, np.ones(len(common))).prevalence
    return LabelEvaluation(
        data=data,
        images=len(rows),
        labels=common,
        models=[_score(model, table, own, seed) for model in used],
        chance_map=float(prevalence[prevalence > 0].mean()) if prevalence.any() else None,
        errors=_errors(shown, table, used[0]),
        paired=_paired(shown, table, used[0], used[1], own) if used[1:] else None,
        skipped=skipped,
        unscored=unscored,
        remarks=[
            *_about(used, table, unscored),
            *about_unanswered(skipped, len(rows), len(used)),
        ],
        group_answers=None if grouping is None else _groups(grouping.take(rows), table, used, seed),
    )


def check_labels(data: str, labels: LabelTable, classes: Sequence[Sequence[str]]) -> list[str]:
    """Return the labels that the images and the ``classes`` of all models have.

    Raises:
        InputError: there are none.
    """
    first, *others = classes
    common = [
        name for name in first if name in labels.names and all(name in other for other in others)
    ]
    if not common:
        raise InputError(
            f"{one_line(data)} has no label that {'both models' if others else 'the model'}"
            f" know{'' if others else 's'}: it has{named(labels.names)}, the model has"
            f"{named(first)}; correct the names"
        )
    return common


def _unscored(
    labels: LabelTable, models: Sequence[LabelAnswers], common: Sequence[str]
) -> Iterator[UnscoredLabel]:
    for code, name in enumerate(labels.names):
        if name not in common:
            images = int((labels.labels[:, code] == 1).sum())
            yield UnscoredLabel(name, _ALONE if models[1:] else _UNKNOWN, images)
    first = models[0]
    for code, name in enumerate(first.classes):
        if name not in labels.names:
            yield UnscoredLabel(name, _ABSENT, int(first.predicted[:, code].sum()))


def _scored(
    labels: Labels, models: Sequence[LabelAnswers]
) -> tuple[NDArray[np.intp], list[Skipped]]:
    """Return the rows that count, and why others do not."""
    labelled = (labels >= 0).any(axis=1)
    answered = np.all([np.isfinite(model.probabilities).all(axis=1) for model in models], axis=0)
    counts = {
        "no known label": int((~labelled).sum()),
        NO_ANSWER: int((labelled & ~answered).sum()),
    }
    skipped = [Skipped(reason, images) for reason, images in counts.items() if images]
    return np.flatnonzero(labelled & answered), skipped


def _score(
    model: LabelAnswers, labels: Labels, group: NDArray[np.intp] | None, seed: int
) -> LabelModelScores:
    # The answers decide: probabilities in a file are rounded, and its thresholds unknown.
    decided = np.where(model.predicted, -np.inf, np.inf)
    measured = measure(labels, model.probabilities, decided, seed, group)
    thresholds: list[float | None] = [None] * labels.shape[1]
    measured["per_label"]["threshold"] = list(model.thresholds) or thresholds
    return LabelModelScores(
        title=model.title, **measured, **_unseen(model, labels, decided, group, seed)
    )


def _groups(
    grouping: Grouping, labels: Labels, models: Sequence[LabelAnswers], seed: int
) -> LabelGroupScores:
    answers = []
    for model in models:
        if not model.thresholds and grouping.answer == MEAN:
            raise InputError(
                f"{one_line(model.title)} does not say the thresholds of its labels, which the mean"
                " of a group must reach; let the images vote: --group-answer vote"
            )
        limits = np.array(model.thresholds or [0.5] * labels.shape[1])
        answers.append(ImageAnswers(model.title, model.probabilities, model.predicted, limits))
    return group_answers.score_labels(grouping, labels, answers, seed)


def _unseen(
    model: LabelAnswers,
    labels: Labels,
    decided: NDArray[np.float64],
    group: NDArray[np.intp] | None,
    seed: int,
) -> Mapping[str, Any]:
    """Return how many images the model was trained on, and its score on the others."""
    if model.trained_on is None:
        return {}
    other = np.flatnonzero(~model.trained_on)
    facts: dict[str, Any] = {"seen": int(model.trained_on.sum())}
    if facts["seen"] and len(other):
        own = None if group is None else group[other]
        arguments = labels[other], model.probabilities[other], decided[other], seed, own
        facts["map_unseen"] = metrics.scores(*arguments)["macro_ap"]
        facts["map_unseen_ci"] = metrics.intervals(*arguments).scores["macro_ap"]
    return facts


def _errors(paths: Sequence[str], labels: Labels, model: LabelAnswers) -> list[WrongLabel]:
    wrong = (labels >= 0) & (model.predicted != (labels == 1))
    errors = [
        WrongLabel(
            paths[row],
            model.classes[code],
            bool(labels[row, code]),
            float(model.probabilities[row, code]),
        )
        for row, code in np.argwhere(wrong).tolist()
    ]
    return sorted(errors, key=lambda e: e.probability if e.present else 1 - e.probability)


def _paired(
    paths: Sequence[str],
    labels: Labels,
    model: LabelAnswers,
    other: LabelAnswers,
    group: NDArray[np.intp] | None,
) -> LabelDifference:
    (compared,) = metrics.compare_with(labels, other.probabilities, [model.probabilities], group)
    side = "better" if compared.difference > 0 else "worse"
    changed = (labels >= 0) & (model.predicted != other.predicted)
    gains = changed & (model.predicted == (labels == 1))
    before, after = (
        metrics.per_label(labels, each.probabilities, np.ones(labels.shape[1])).average_precision
        for each in (other, model)
    )
    return LabelDifference(
        difference=compared.difference,
        difference_ci=compared.interval,
        p=compared.p,
        visible_difference=compared.visible,
        verdict=side if compared.decided else "tie",
        images=int(changed.any(axis=1).sum()),
        by_label=[
            LabelChange(
                name,
                images=int((labels[:, code] == 1).sum()),
                gains=int(gains[:, code].sum()),
                losses=int((changed & ~gains)[:, code].sum()),
                ap_before=None if np.isnan(before[code]) else float(before[code]),
                ap_after=None if np.isnan(after[code]) else float(after[code]),
            )
            for code, name in enumerate(model.classes)
        ],
        changes=[
            ChangedLabel(
                paths[row],
                model.classes[code],
                bool(labels[row, code]),
                bool(model.predicted[row, code]),
                "gain" if gains[row, code] else "loss",
                float(other.probabilities[row, code]),
                float(model.probabilities[row, code]),
            )
            for row, code in np.argwhere(changed).tolist()
        ],
    )


def _about(
    models: Sequence[LabelAnswers], labels: Labels, unscored: Sequence[UnscoredLabel]
) -> Iterator[Remark]:
    """Yield what a reader of the scores should know."""
    yield from about_training(models, len(labels))
    unknown = [each for each in unscored if each.reason != _ABSENT]
    if unknown:
        whose = "both models know" if models[1:] else "the model knows"
        yield remark(
            "HS503",
            f"Labels that not {whose} are not scored:{named([each.label for each in unknown])}.",
        )
    absent = [each for each in unscored if each.reason == _ABSENT]
    if absent:
        times = sum(each.images for each in absent)
        yield remark(
            "HS507",
            f"No image has {named([each.label for each in absent]).strip()}, which the model"
            f" answers {times:,} times. Nobody can tell from these images whether that is wrong,"
            " so these labels are not scored.",
        )
    if len(labels) and ((labels == 1).sum(axis=1) == 1).all() and labels.shape[1] > 1:
        yield remark(
            "HS508",
            "Every image has exactly one label, so all other labels count as absent from it. If"
            " only one label of each image was noted, precision and F1 are too low.",
        )
    few = metrics.few_positives(labels)
    if few.any():
        names = [models[0].classes[code] for code in np.flatnonzero(few).tolist()]
        yield remark(
            "HS601",
            f"Fewer than {metrics.FEW} images have{named(names)}: read the intervals of these"
            " labels, not the scores.",
        )
    if len(labels) < FEW:
        yield remark(
            "HS506",
            f"{count(len(labels), 'image')} say little: read the intervals, not the scores.",
        )
