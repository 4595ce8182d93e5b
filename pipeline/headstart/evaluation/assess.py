"""Scores of finished models on labelled images, and what changes from one model to another."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.assessment import (
    Baseline,
    Evaluation,
    MeasuredPoint,
    Misclassified,
    ModelScores,
    Skipped,
)
from headstart.core.costs import read
from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef
from headstart.core.remarks import remark
from headstart.core.results import GroupScores, Remark
from headstart.evaluation import expected_cost, group_answers, metrics
from headstart.evaluation.answers import Answers, LabelAnswers
from headstart.evaluation.changes import compare
from headstart.evaluation.compare.scoring import scores
from headstart.evaluation.group_answers import Grouping, ImageAnswers
from headstart.evaluation.operating_points import Ranked

FEW = 30  # images, below which the intervals are all that can be read
NAMED = 3  # labels that a sentence names
NO_ANSWER = "no answer"
_NEED_PROBABILITIES = ("log_loss", "roc_auc", "ece", "calibration_error", "calibration_chance")


def truths(classes: Sequence[str], refs: Sequence[ImageRef]) -> list[str | None]:
    """Return the true labels of images."""
    return [ref.label for ref in refs]


def answers(title: str, model: Any, predictions: Sequence[Any]) -> Answers:  # noqa: ANN401
    """Return the answers of a `headstart.models.Model`, from its predictions for all images."""
    none = (0.0,) * len(model.classes)
    trained_on = None
    if model.trained_on is not None:
        trained_on = np.array([bool(each.trained_on) for each in predictions])
    return Answers(
        title,
        model.classes,
        [each.label for each in predictions],
        np.array([none if each.error else each.probabilities for each in predictions], np.float32),
        trained_on,
        True,
        model.thresholds,
        _group_thresholds(model.group_promises),
    )


def _group_thresholds(promises: Any) -> dict[str, dict[float, float]]:  # noqa: ANN401
    return {} if promises is None else {promises.answer: promises.thresholds}


def check_costs(costs: Path, classes: Sequence[str] | None) -> None:
    """Raise an `InputError` unless a table of ``costs`` fits a model's classes, if it has any."""
    if classes is not None:
        read(costs, classes)


def assess(
    data: str,
    paths: Sequence[str],
    labels: Sequence[str | None],
    models: Sequence[Answers],
    group: NDArray[np.intp] | None = None,
    seed: int = 0,
    costs: Path | None = None,
    grouping: Grouping | None = None,
) -> Evaluation:
    """Score one model, or two on the same images; ``labels`` are the true ones, None if unknown.

    An image counts if it has a label that all models know, and all could use it; the others are
    ``skipped``, with the reason. Images with equal numbers in ``group``, ``(n,)``, belong together.
    ``costs`` is a table for `headstart.core.costs.read`. Each group of a ``grouping`` of the images
    gets one answer.

    Raises:
        InputError: no image is left, the table is not whole, or groups cannot get an answer.
    """
    models = [_with_classes(model, labels) for model in models]
    rows, skipped = _scored(labels, models)
    if not len(rows):
        raise InputError(f"{one_line(data)} has no image to score: {_in_words(skipped)}")
    true = [str(labels[row]) for row in rows]
    used = [model.take(rows) for model in models]
    groups = None if group is None else group[rows]
    grouping = grouping and grouping.take(rows)
    top, times = Counter(true).most_common(1)[0]
    majority = np.array([label == top for label in true])
    return Evaluation(
        data=data,
        images=len(rows),
        models=[_score(model, true, groups, seed, costs, grouping) for model in used],
        baseline=Baseline(top, times / len(rows), metrics.accuracy_interval(majority, groups)),
        errors=_errors([paths[row] for row in rows], true, used[0]),
        paired=compare([paths[row] for row in rows], true, used[0], used[1], groups)
        if len(used) == 2
        else None,
        skipped=skipped,
        remarks=[*_about(used, true, skipped), *about_unanswered(skipped, len(rows), len(used))],
        group_answers=None if grouping is None else _groups(grouping, true, used),
    )


def check_labels(data: str, labels: Sequence[str | None], classes: Sequence[Sequence[str]]) -> None:
    """Raise an `InputError` if no image has a label that is in the ``classes`` of all models."""
    common = set.intersection(*map(set, classes))
    if not any(label in common for label in labels):
        skipped = _of_labels(labels, common, len(classes))
        raise InputError(f"{one_line(data)} has no image to score: {_in_words(skipped)}")


def _with_classes(model: Answers, labels: Sequence[str | None]) -> Answers:
    """Let answers without probabilities, whose other classes nobody knows, know every label."""
    if model.probabilities is not None:
        return model
    names = {*model.classes, *(label for label in labels if label is not None)}
    return dataclasses.replace(model, classes=tuple(sorted(names)))


def _scored(
    labels: Sequence[str | None], models: Sequence[Answers]
) -> tuple[NDArray[np.intp], list[Skipped]]:
    """Return the rows that count, and why others do not."""
    common = set.intersection(*(set(model.classes) for model in models))
    labelled = [row for row, label in enumerate(labels) if label in common]
    rows = [row for row in labelled if all(model.predicted[row] for model in models)]
    failed = len(labelled) - len(rows)
    skipped = _of_labels(labels, common, len(models))
    skipped += [Skipped(NO_ANSWER, failed)] if failed else []
    return np.array(rows, np.intp), skipped


def _of_labels(labels: Sequence[str | None], common: set[str], models: int) -> list[Skipped]:
    """Return the images whose labels are unknown, or not ``common`` to the models."""
    unknown = Counter(label for label in labels if label is not None and label not in common)
    what = f"label that {'not both models know' if models > 1 else 'the model does not know'}"
    skipped = [Skipped(what, images, label) for label, images in unknown.most_common()]
    unlabelled = sum(label is None for label in labels)
    return skipped + ([Skipped("no label", unlabelled)] if unlabelled else [])


def _in_words(skipped: Sequence[Skipped]) -> str:
    """Return the reasons with their numbers of images, as part of a sentence."""
    totals = Counter[str]()
    names: dict[str, list[str]] = {}
    for entry in skipped:
        totals[entry.reason] += entry.images
        names.setdefault(entry.reason, []).append(entry.label)
    return "; ".join(
        f"{count(n, 'image')} with {reason if reason.startswith('no') else 'a ' + reason}"
        + _in_brackets([name for name in names[reason] if name])
        for reason, n in totals.items()
    )


def named(names: Sequence[str]) -> str:
    """Return the first of some names, after a blank."""
    more = ", …" if len(names) > NAMED else ""
    return f" {', '.join(map(one_line, names[:NAMED]))}{more}" if names else " none"


def _in_brackets(names: Sequence[str]) -> str:
    return f" ({named(names)[1:]})" if names else ""


def _score(
    model: Answers,
    true: Sequence[str],
    group: NDArray[np.intp] | None,
    seed: int,
    costs: Path | None,
    grouping: Grouping | None,
) -> ModelScores:
    code = {name: number for number, name in enumerate(model.classes)}
    truth = np.array([code[label] for label in true])
    predicted = np.array([code[answer] for answer in model.predicted])
    probabilities = model.probabilities
    if probabilities is None:
        probabilities = np.eye(len(code))[predicted]
    measured: dict[str, Any] = scores(truth, probabilities, seed, group)
    if model.probabilities is None:
        measured |= dict.fromkeys((*_NEED_PROBABILITIES, "reliability"))
        lost = {name: None for name in measured["intervals"] if name in _NEED_PROBABILITIES}
        measured["intervals"] |= lost
    points = _points(model.thresholds, truth, probabilities, group)
    group_points: list[MeasuredPoint] = []
    if grouping is not None and (own := model.group_thresholds.get(grouping.answer)):
        group_points = _points(own, *group_answers.pooled(grouping, truth, probabilities)[1:])
    return ModelScores(
        model.title,
        list(model.classes),
        **measured,
        operating_points=points,
        group_operating_points=group_points,
        costs=None
        if costs is None
        else expected_cost.measure(
            read(costs, model.classes), truth, predicted, model.probabilities, group
        ),
        **_unseen(model, true, group),
    )


def _points(
    thresholds: Mapping[float, float],
    true: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    group: NDArray[np.intp] | None = None,
) -> list[MeasuredPoint]:
    """Return what thresholds do; without any answers, nothing."""
    if not len(true):
        return []
    answers = Ranked.of(true, probabilities, group)
    return [
        MeasuredPoint(target, threshold, **answers.beyond(threshold))
        for target, threshold in sorted(thresholds.items())
    ]


def _groups(grouping: Grouping, true: Sequence[str], models: Sequence[Answers]) -> GroupScores:
    """Score the answers for groups; classes that only one model knows are impossible to others."""
    names = tuple(dict.fromkeys(name for model in models for name in model.classes))
    code = {name: number for number, name in enumerate(names)}
    answers = []
    for model in models:
        predicted = np.array([code[answer] for answer in model.predicted])
        probabilities = None
        if model.probabilities is not None:
            probabilities = np.zeros((len(true), len(names)))
            probabilities[:, [code[name] for name in model.classes]] = model.probabilities
        answers.append(ImageAnswers.of_classes(model.title, probabilities, predicted, len(names)))
    return group_answers.score(grouping, np.array([code[name] for name in true]), answers, names)


def _errors(paths: Sequence[str], true: Sequence[str], model: Answers) -> list[Misclassified]:
    wrong = (row for row, label in enumerate(true) if model.predicted[row] != label)
    errors = [
        Misclassified(paths[row], true[row], model.predicted[row], model.confidence(row))
        for row in wrong
    ]
    return sorted(errors, key=lambda error: -(error.probability or 0.0))


def _unseen(model: Answers, true: Sequence[str], group: NDArray[np.intp] | None) -> dict[str, Any]:
    """Return how many images the model was trained on, and its accuracy on the others."""
    if model.trained_on is None:
        return {}
    other = ~model.trained_on
    facts: dict[str, Any] = {"seen": int(model.trained_on.sum())}
    if other.any() and not other.all():
        right = np.array([a == b for a, b in zip(model.predicted, true, strict=True)])[other]
        interval = metrics.accuracy_interval(right, None if group is None else group[other])
        facts |= {"accuracy_unseen": float(right.mean()), "accuracy_unseen_ci": interval}
    return facts


def about_training(models: Sequence[Answers | LabelAnswers], images: int) -> Iterator[Remark]:
    """Yield what is known of the images that models were trained on."""
    for model in models:
        if model.trained_on is None and model.of_a_file:
            yield remark(
                "HS501",
                f"{one_line(model.title)} does not list its training images, so nobody can check"
                " whether some of these are among them. Train it again to have the list.",
            )
        elif model.trained_on is not None and model.trained_on.any():
            yield remark(
                "HS502",
                f"{one_line(model.title)} was trained on {int(model.trained_on.sum()):,} of these"
                f" {count(images, 'image')}: its scores are too good. Evaluate it on images that"
                " it has not seen.",
            )


def about_unanswered(skipped: Sequence[Skipped], images: int, models: int) -> Iterator[Remark]:
    """Yield how many images have no answer, beside those that are scored."""
    missing = sum(each.images for each in skipped if each.reason == NO_ANSWER)
    if missing:
        yield remark(
            "HS509",
            f"Not scored: {missing:,} of {count(missing + images, 'image')}, for which"
            f" {'at least one' if models > 1 else 'the'} model has no answer. If they are harder"
            " than the others, the scores are too good.",
        )


def _about(
    models: Sequence[Answers], true: Sequence[str], skipped: Sequence[Skipped]
) -> Iterator[Remark]:
    """Yield what a reader of the scores should know."""
    yield from about_training(models, len(true))
    unknown = [entry for entry in skipped if entry.label]
    if unknown:
        yield remark(
            "HS503",
            f"Not scored: {_in_words(unknown)}. If they count as errors, the accuracy is lower than"
            " the one shown.",
        )
    if len(models) == 2 and set(models[0].classes) != set(models[1].classes):
        alone = [set(a.classes) - set(b.classes) for a, b in (models, models[::-1])]
        yield remark(
            "HS504",
            "The models know different classes: only the first"
            f" {count(len(alone[0]), 'class')}{_in_brackets(sorted(alone[0]))}, only the second"
            f" {count(len(alone[1]), 'class')}{_in_brackets(sorted(alone[1]))}. Only images of"
            " common classes are scored, on which the model with fewer classes has an advantage.",
        )
    if len(set(true)) == 1:
        yield remark(
            "HS505",
            f"All images are of the class {one_line(true[0])}, so the scores are those of one"
            " class: nothing shows how often others are mistaken for it.",
        )
    if len(true) < FEW:
        yield remark(
            "HS506",
            f"{count(len(true), 'image')} say little: read the intervals, not the scores.",
        )
