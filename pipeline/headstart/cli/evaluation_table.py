"""The evaluation of a finished model as tables on the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headstart.cli.console import notice
from headstart.cli.output import Alignment, say, table
from headstart.core.errors import count, one_line
from headstart.core.group_text import in_words

if TYPE_CHECKING:
    from headstart.core.assessment import (
        Evaluation,
        MeasuredPoint,
        ModelScores,
        PairedDifference,
    )
    from headstart.core.label_assessment import LabelEvaluation
    from headstart.core.results import GroupScores

CLASSES = 20  # classes shown; of more, those with the lowest recall
PAIRS = 5  # confusions shown
_PERCENT = ("accuracy", "balanced_accuracy", "macro_f1")
_NUMBERS = ("roc_auc", "log_loss", "calibration_error")


def show(evaluation: Evaluation) -> None:
    """Print scores, classes, confusions, what changed, and remarks."""
    click.echo(f"{one_line(evaluation.data)}: {count(evaluation.images, 'image')} scored")
    for name, model in zip(("model", "against"), evaluation.models, strict=False):
        click.echo(f"{name}: {one_line(model.title)}")
    _show_scores(evaluation.models)
    base, (low, high) = evaluation.baseline, evaluation.baseline.accuracy_ci
    click.echo(
        f"always answering {one_line(base.label)}: {base.accuracy:.1%} ({ends_of(low, high)})"
    )
    first = evaluation.models[0]
    if first.seen and first.accuracy_unseen is not None and first.accuracy_unseen_ci is not None:
        say(
            f"on the {count(evaluation.images - first.seen, 'image')} that the model has not seen:"
            f" {first.accuracy_unseen:.1%} ({ends_of(*first.accuracy_unseen_ci)})"
        )
    _show_classes(first)
    _show_confusions(evaluation.models[0])
    _show_operating_points(first.operating_points, "--at")
    _show_costs(evaluation.models[0])
    if evaluation.group_answers is not None:
        _show_groups(evaluation.group_answers)
        _show_operating_points(first.group_operating_points, "--groups --at")
    if evaluation.paired is not None:
        _show_difference(evaluation.paired)
    show_remarks(evaluation)


def show_remarks(evaluation: Evaluation | LabelEvaluation) -> None:
    """Print which images are not scored, remarks and gates."""
    for skipped in evaluation.skipped:
        label = f": {one_line(skipped.label)}" if skipped.label else ""
        click.echo(f"not scored, {skipped.reason}{label}: {count(skipped.images, 'image')}")
    for remark in evaluation.remarks:
        say(f"remark {remark.code}: {remark.text}")
    for gate in evaluation.gates:
        say(f"{'passed' if gate.passed else 'FAILED'}: {gate.text}")


def show_failed(evaluation: Evaluation | LabelEvaluation) -> None:
    """Name the conditions that the model does not meet, on stderr."""
    for gate in evaluation.gates:
        if not gate.passed:
            notice(f"WARNING: {gate.text}")


def ends_of(low: float, high: float) -> str:
    """Return the ends of an interval in percent."""
    return f"{100 * low:.1f}–{100 * high:.1f}"


def _show_scores(models: Sequence[ModelScores]) -> None:
    rows = []
    for name in (*_PERCENT, *_NUMBERS):
        cells = [name.replace("_", " ").replace("roc auc", "ROC AUC").replace("f1", "F1")]
        for model in models:
            value = getattr(model, name)
            ends = model.accuracy_ci if name == "accuracy" else model.intervals.get(name)
            if value is None:
                cells += ["–", ""]
            elif name in _PERCENT:
                cells += [f"{value:.1%}", ends_of(*ends) if ends else ""]
            else:
                cells += [f"{value:.3f}", f"{ends[0]:.3f}–{ends[1]:.3f}" if ends else ""]
        rows.append(cells)
    columns: dict[str, Alignment] = {"score": "left", "model": "right", "95 % interval": "right"}
    if len(models) > 1:
        columns |= {"against": "right", " 95 % interval": "right"}
    table(columns, [rows])


def _show_classes(model: ModelScores) -> None:
    scores = model.per_class
    order = [place for place, n in enumerate(scores["support"]) if n or scores["precision"][place]]
    if len(order) > CLASSES:
        order.sort(key=lambda place: (scores["recall"][place] is None, scores["recall"][place]))
        click.echo(f"The {CLASSES} classes of {len(order):,} with the lowest recall:")
    rows = [
        [
            one_line(model.classes[place]),
            f"{scores['support'][place]:,}",
            *_share(scores["precision"][place], scores["precision_ci"][place]),
            *_share(scores["recall"][place], scores["recall_ci"][place]),
        ]
        for place in order[:CLASSES]
    ]
    columns: dict[str, Alignment] = {"class": "left"}
    titles = ("images", "precision", "95 % interval", "recall", " 95 % interval")
    table(columns | dict.fromkeys(titles, "right"), [rows])


def _share(value: float | None, ends: Sequence[float] | None) -> tuple[str, str]:
    return ("–" if value is None else f"{value:.1%}", ends_of(*ends) if ends else "")


def _show_confusions(model: ModelScores) -> None:
    table_ = model.confusion
    cells = (
        table_["cells"]
        if isinstance(table_, dict)
        else [(i, j, n) for i, row in enumerate(table_) for j, n in enumerate(row)]
    )
    wrong = sorted((cell for cell in cells if cell[0] != cell[1] and cell[2]), key=lambda c: -c[2])
    for true, predicted, n in wrong[:PAIRS]:
        names = one_line(model.classes[true]), one_line(model.classes[predicted])
        click.echo(f"{names[0]} taken for {names[1]}: {count(n, 'image')}")
    if len(wrong) > PAIRS:
        click.echo(f"and {len(wrong) - PAIRS:,} other confused pairs")


def _show_operating_points(points: Sequence[MeasuredPoint], option: str) -> None:
    rows = [
        [
            f"{100 * point.target:g}%",
            f"{point.threshold:.3f}",
            *_share(point.share, point.share_ci),
            *_share(point.accuracy, point.accuracy_ci),
        ]
        for point in points
    ]
    titles = ("threshold", "answered", "95 % interval", "right", " 95 % interval")
    columns: dict[str, Alignment] = {f"predict {option}": "left"}
    if rows:
        table(columns | dict.fromkeys(titles, "right"), [rows])


def _show_costs(model: ModelScores) -> None:
    costs = model.costs
    if costs is not None:
        click.echo(f"mean cost of an image: {costs.cost:.4g}")
    if costs is not None and costs.saved is not None and costs.saved_ci is not None:
        low, high = costs.saved_ci
        click.echo(
            f"decided by expected cost (predict --costs): {costs.decided:.4g}, {costs.saved:.4g}"
            f" saved ({low:.4g} to {high:.4g}), {costs.accuracy:.1%} right"
        )


def _show_groups(groups: GroupScores) -> None:
    say(in_words(dataclasses.asdict(groups)))
    for row in groups.scores[1:]:
        low, high = (100 * end for end in row.difference_ci or (0, 0))
        say(
            f"against: {row.accuracy:.1%} of the groups right, {100 * (row.difference or 0):+.1f}"
            f" points ({low:+.1f} to {high:+.1f}), exact McNemar p = {row.p:.3g}"
        )


def _show_difference(paired: PairedDifference) -> None:
    low, high = (100 * end for end in paired.difference_ci)
    verdict = {
        "tie": "no more than chance",
        "better": "model is better by more than chance",
        "worse": "model is WORSE by more than chance",
    }[paired.verdict]
    gains = sum(change.direction == "gain" for change in paired.changes)
    losses = sum(change.direction == "loss" for change in paired.changes)
    others = len(paired.changes) - gains - losses
    click.echo(
        f"model against the other: {100 * paired.difference:+.1f} points of accuracy"
        f" ({low:+.1f} to {high:+.1f}),\n  exact McNemar p = {paired.p:.3g}: {verdict}"
    )
    if paired.verdict == "tie":
        click.echo(
            f"  a true difference below about {100 * paired.visible_difference:.1f} points would"
            " probably stay hidden"
        )
    click.echo(
        f"{count(len(paired.changes), 'changed answer')}: {gains:,} right now, {losses:,} wrong"
        f" now, {others:,} still wrong"
    )
    rows = [
        [
            one_line(change.label),
            f"{change.images:,}",
            f"+{change.gains:,}",
            f"-{change.losses:,}",
            f"{change.recall_before:.1%}",
            f"{change.recall_after:.1%}",
        ]
        for change in sorted(paired.by_class, key=lambda c: -(c.gains + c.losses))[:CLASSES]
        if change.gains + change.losses
    ]
    titles = ("images", "right now", "wrong now", "recall before", "recall after")
    columns: dict[str, Alignment] = {"class": "left"}
    if rows:
        table(columns | dict.fromkeys(titles, "right"), [rows])
