"""Finished models, or their predictions, scored on labelled images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from headstart.core import choices, remarks, targets
from headstart.core.errors import UsageError
from headstart.workflows.artifacts import COMMAND
from headstart.workflows.group_names import GroupNames, about_ungrouped, check_group_answer
from headstart.workflows.locations import StrPath, output_file
from headstart.workflows.progress import showing
from headstart.workflows.reading import source_options
from headstart.workflows.scored_images import Contender, scored_images

if TYPE_CHECKING:
    from headstart.core.assessment import Evaluation
    from headstart.core.hooks import Hooks
    from headstart.core.label_assessment import LabelEvaluation
    from headstart.models.predict import Model


def evaluate(
    model: Model | StrPath,
    data: StrPath | None = None,
    *,
    against: Model | StrPath | None = None,
    split: str = choices.SCORED[0],
    groups: StrPath | Mapping[str, str] | None = None,
    group_answer: str = choices.GROUP_ANSWERS[0],
    fail_below: str | Sequence[str] = (),
    fail_worse: bool = False,
    report: StrPath | None = None,
    costs: StrPath | None = None,
    max_failures: float = choices.MAX_FAILURES,
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    workers: int | None = None,
    device: str = "cpu",
    ignore: str | Sequence[str] = (),
    seed: int = 0,
    hooks: Hooks | None = None,
) -> Evaluation | LabelEvaluation:
    """Score a finished model on labelled images, and compare it with another one.

    A model for several labels on one image takes images with several labels.

    Args:
        model: a model file, what `load_model` returns, a folder of results, or predictions
            (``.csv``, ``.jsonl``) that `predict` or `train_heads` wrote.
        data: labelled images, as for `extract_features`; None takes the true labels from the
            predictions, in their column ``true`` or ``label_column``.
        against: the model in use, in any of the forms of ``model``.
        split: ``auto`` takes the images of the split named test if there is one, else all.
        groups: images that belong together, such as those of a patient: a CSV of path and group, or
            a mapping. Intervals are those of dependent images, and ``group_answers`` the scores
            of one answer for each group.
        group_answer: how a group gets it, one of `core.choices.GROUP_ANSWERS`.
        fail_below: conditions ``METRIC=VALUE``: the lower end of the interval of the score must be
            at least the value. A metric is ``accuracy``, ``balanced_accuracy``, ``macro_f1``,
            ``roc_auc``, ``group_accuracy``, ``recall:CLASS`` or ``precision:CLASS``; of several
            labels it is ``map``, ``macro_auc``, ``macro_f1``, ``micro_f1``, ``subset_accuracy``, or
            with ``:LABEL`` ``ap``, ``auc``, ``f1``, ``recall`` or ``precision``.
        fail_worse: whether ``model`` must not be worse than ``against`` by more than chance: in
            accuracy, or of several labels in mean average precision.
        report: an HTML page to write.
        costs: a CSV table of costs, as for `predict`: what the answers cost, and what deciding by
            expected cost saves.
        max_failures: largest allowed share of images that cannot be used.
        label_column: as for `extract_features`, like ``path_column``.
        path_column: the column with the images' paths.
        label_columns: 0/1 columns, one a label, as for `extract_features`.
        target: one of `core.choices.TARGETS`; empty takes that of the model.
        workers: threads; None means one per core.
        device: one of `core.choices.DEVICES`.
        ignore: codes of remarks to leave out, such as ``HS506``.
        seed: of intervals, 0 or more.
        hooks: receives notices and progress.

    Returns:
        The scores; ``passed`` says whether all conditions are met, ``to_json`` gives the document.

    Raises:
        UsageError: a condition cannot be read, or arguments contradict each other.
        InputError: the images, labels or predictions cannot be used.
        BackboneError: a model cannot be used.
    """
    from headstart import __version__
    from headstart.evaluation import gates
    from headstart.evaluation.group_answers import Grouping

    ignored = remarks.parse(ignore)
    minima = [gates.parse(text) for text in _texts(fail_below)]
    if fail_worse and against is None:
        raise UsageError("--fail-worse needs --against, the model to compare with")
    check_group_answer(groups, group_answer)
    page = None if report is None else output_file(report)
    table = None if costs is None else Path(costs)
    reading = source_options(label_column, path_column, label_columns, target)
    with showing("evaluate", hooks) as shown:
        contenders = [
            Contender.open(each, device, label_column if data is None else "")
            for each in ([model] if against is None else [model, against])
        ]
        if table is not None:  # before images are embedded
            for contender in contenders:
                contender.check_costs(table)
        images = scored_images(data, contenders, split, reading)
        part = targets.by_name(images.target).part("assessment")
        for contender in contenders:
            contender.check_target(images)
        classes = [each.classes for each in contenders if each.is_complete]
        if classes:  # before any image is embedded
            part.check_labels(images.title, images.labels, classes)
        gates.check(minima, images.target, contenders[0].classes, contenders[0].title)
        paths = [names[0] for names in images.names]
        grouping = None
        if groups is not None:
            named = GroupNames.of(groups, [] if data is None else [os.fspath(data)]).named(paths)
            for line in about_ungrouped(len(paths) - len(named), len(paths)):
                shown.notice(line)
            grouping = Grouping.of(paths, named, group_answer)
        answers = [each.answers(images, workers, max_failures, shown) for each in contenders]
    evaluation = part.assess(
        images.title,
        paths,
        images.labels,
        answers,
        grouping and grouping.codes,
        seed,
        table,
        grouping,
    )
    facts = {
        "headstart": __version__,
        "command": COMMAND.get(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    evaluation = dataclasses.replace(
        evaluation,
        remarks=remarks.without(evaluation.remarks, ignored),
        gates=gates.judge(evaluation, minima, fail_worse),
        provenance=facts,
    )
    if page is not None:
        writer = targets.by_name(images.target).part("assessment page")
        writer.write_page(evaluation, page, images.picture)
    return cast("Evaluation | LabelEvaluation", evaluation)


def _texts(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
