"""The evaluation of a finished model for several labels as tables on the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from headstart.cli.evaluation_table import CLASSES, ends_of, show_remarks
from headstart.cli.output import Alignment, say, table
from headstart.core.errors import count, one_line
from headstart.core.group_text import in_words

if TYPE_CHECKING:
    from headstart.core.label_assessment import LabelDifference, LabelEvaluation, LabelModelScores

_NAMES = {
    "map": "mAP",
    "macro_auc": "macro AUC",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "subset_accuracy": "all labels right",
    "hamming_loss": "wrong labels",
    "calibration_error": "calibration error",
}
_SHARES = ("subset_accuracy", "hamming_loss")
_VERDICTS = {
    "tie": "no more than chance",
    "better": "model is better by more than chance",
    "worse": "model is WORSE by more than chance",
}


def show(evaluation: LabelEvaluation) -> None:
    """Print scores, labels, what changed, and remarks."""
    click.echo(
        f"{one_line(evaluation.data)}: {count(evaluation.images, 'image')} scored,"
        f" {count(len(evaluation.labels), 'label')}"
    )
    for name, model in zip(("model", "against"), evaluation.models, strict=False):
        click.echo(f"{name}: {one_line(model.title)}")
    _show_scores(evaluation.models)
    if evaluation.chance_map is not None:
        click.echo(f"mAP of random answers: {evaluation.chance_map:.3f}")
    first = evaluation.models[0]
    if first.seen and first.map_unseen is not None:
        interval = first.map_unseen_ci
        say(
            f"on the {count(evaluation.images - first.seen, 'image')} that the model has not seen:"
            f" mAP {first.map_unseen:.3f}" + (f" ({_ends(interval)})" if interval else "")
        )
    _show_labels(first, evaluation.labels)
    if evaluation.group_answers is not None:
        say(in_words(dataclasses.asdict(evaluation.group_answers)))
    if evaluation.paired is not None:
        _show_difference(evaluation.paired)
    for each in evaluation.unscored[:CLASSES]:
        click.echo(f"label not scored, {each.reason}: {one_line(each.label)}")
    if len(evaluation.unscored) > CLASSES:
        click.echo(f"and {len(evaluation.unscored) - CLASSES:,} other labels not scored")
    show_remarks(evaluation)


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def _show_scores(models: Sequence[LabelModelScores]) -> None:
    rows = []
    for key, name in _NAMES.items():
        cells = [name]
        for model in models:
            value, interval = getattr(model, key), model.intervals.get(key)
            if value is None:
                cells += ["–", ""]
            elif key in _SHARES:
                cells += [f"{value:.1%}", ends_of(*interval) if interval else ""]
            else:
                cells += [f"{value:.3f}", _ends(interval)]
        rows.append(cells)
    columns: dict[str, Alignment] = {"score": "left", "model": "right", "95 % interval": "right"}
    if len(models) > 1:
        columns |= {"against": "right", " 95 % interval": "right"}
    table(columns, [rows])


def _show_labels(model: LabelModelScores, labels: Sequence[str]) -> None:
    scores: dict[str, list[Any]] = model.per_label
    order = list(range(len(labels)))
    if len(order) > CLASSES:
        order.sort(key=lambda place: (scores["ap"][place] is None, scores["ap"][place]))
        click.echo(
            f"The {CLASSES} labels of {len(order):,} with the lowest average precision (AP):"
        )
    rows = [
        [
            one_line(labels[place]),
            f"{scores['support'][place]:,}",
            _number(scores["ap"][place]),
            _ends(scores["ap_ci"][place]),
            *(_number(scores[name][place]) for name in ("f1", "precision", "recall", "threshold")),
        ]
        for place in order[:CLASSES]
    ]
    columns: dict[str, Alignment] = {"label": "left"}
    titles = ("images", "AP", "95 % interval", "F1", "precision", "recall", "threshold")
    table(columns | dict.fromkeys(titles, "right"), [rows])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _show_difference(paired: LabelDifference) -> None:
    low, high = paired.difference_ci
    click.echo(
        f"model against the other: {paired.difference:+.3f} mAP ({low:+.3f} to {high:+.3f}),"
        f"\n  p = {paired.p:.3g}: {_VERDICTS[paired.verdict]}"
    )
    if paired.verdict == "tie":
        click.echo(
            f"  a true difference below about {paired.visible_difference:.3f} would probably stay"
            " hidden"
        )
    gains = sum(each.gains for each in paired.by_label)
    click.echo(
        f"{count(len(paired.changes), 'changed label')} on {count(paired.images, 'image')}:"
        f" {gains:,} right now, {len(paired.changes) - gains:,} wrong now"
    )
    rows = [
        [
            one_line(each.label),
            f"{each.images:,}",
            f"+{each.gains:,}",
            f"-{each.losses:,}",
            _number(each.ap_before),
            _number(each.ap_after),
        ]
        for each in sorted(paired.by_label, key=lambda c: -(c.gains + c.losses))[:CLASSES]
        if each.gains + each.losses
    ]
    titles = ("images", "right now", "wrong now", "AP before", "AP now")
    columns: dict[str, Alignment] = {"label": "left"}
    if rows:
        table(columns | dict.fromkeys(titles, "right"), [rows])
