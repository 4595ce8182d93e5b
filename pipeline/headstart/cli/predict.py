"""``headstart predict``: classify images with a model file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstart.cli import drift_table
from headstart.cli.console import notice
from headstart.cli.help import Command
from headstart.cli.options import (
    FILE,
    as_json,
    costs,
    device,
    group_answer,
    path_column,
    target,
    workers,
)
from headstart.cli.rows import FORMATS, Layout, writer
from headstart.core.choices import EXPLAIN, MAX_FAILURES, SETS
from headstart.core.errors import count, one_line
from headstart.workflows import models
from headstart.workflows.drift import summarise
from headstart.workflows.group_names import about_ungrouped
from headstart.workflows.locations import output_file

if TYPE_CHECKING:
    from headstart.core.drift import Drift
    from headstart.models.predict import Model, Prediction


@click.command(
    cls=Command,
    examples="""
predict results photos/new --out labels.csv
predict results - < list-of-paths.txt
""",
)
@click.argument("model", type=FILE, metavar="MODEL|RESULTS_DIR")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--out", type=FILE, help="CSV or JSON Lines file to write (.csv, .jsonl).")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Format on stdout.  [default: csv]"
)
@click.option("--top-k", type=click.IntRange(min=1), help="Number of most probable classes only.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="P",
    help="Probability of the best class below which an image is labelled unknown.",
)
@target
@costs
@click.option(
    "--sets",
    "sets",
    flag_value=SETS[0],
    default="",
    help="Add the set of classes that holds the true one for 95 % of the images.",
)
@click.option(
    "--sets-by-class",
    "sets",
    flag_value=SETS[1],
    help="Add the set of classes that holds the true one for 95 % of the images of each class.",
)
@click.option(
    "--correct-priors",
    is_flag=True,
    help="Correct probabilities and labels for the classes' shares in these images, estimated from"
    " all of them; rows come at the end.",
)
@click.option(
    "--summary",
    is_flag=True,
    help="Say in the end whether the images are like the training images; see headstart drift.",
)
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=MAX_FAILURES,
    show_default=True,
    help="Share of failed images above which the exit code is 1; all rows are written.",
)
@click.option(
    "--explain",
    type=FILE,
    metavar="DIR",
    help="Folder for a picture of what speaks for each answer, with a page.",
)
@click.option(
    "--explain-by",
    type=click.Choice(EXPLAIN),
    help="How: the exact map of a linear head, what the answer loses without a place, or without a"
    " covered part.  [default: the first that fits]",
)
@click.option(
    "--train-store",
    type=FILE,
    help="Feature store of the training images: the page shows the nearest ones.",
)
@click.option(
    "--groups",
    type=FILE,
    metavar="FILE.csv|PATTERN",
    help="CSV of path,group, or a pattern such as '{group}/*' for the end of a path:"
    " one row for each group, such as a patient or a burst, at the end.",
)
@group_answer
@path_column
@workers
@device
@as_json
def command(
    model: Path,
    paths: tuple[str, ...],
    out: Path | None,
    format_: str | None,
    top_k: int | None,
    min_confidence: float,
    target: str | None,
    costs: Path | None,
    sets: str,
    correct_priors: bool,
    summary: bool,
    max_failures: float,
    explain: Path | None,
    explain_by: str | None,
    train_store: Path | None,
    groups: Path | None,
    group_answer: str,
    path_column: str,
    workers: int | None,
    device: str,
    json_: bool,
) -> None:
    """Classify images: files, any source that features takes, or - for a list on stdin.

    Rows are in the order of the images and printed as soon as they are computed. An image that
    cannot be used is a row with an error; one that is not like any training image is marked.
    MODEL is a model file, or the folder of results that holds it.
    """
    if out is not None and output_file(out, *paths).suffix not in (".csv", ".jsonl"):
        raise click.UsageError("--out must end in .csv or .jsonl")
    if (out is not None) + (format_ is not None) + json_ > 1:
        raise click.UsageError("choose one of --out, --format and --json")
    classifier = models.load_model(model, device=device)
    images = _Images(classifier, one_line(model), paths, summary, groups)
    predictions = models.predict(
        classifier,
        paths,
        min_confidence=min_confidence,
        target=target,
        sets=sets,
        costs=costs,
        correct_priors=correct_priors,
        summary=summary,
        explain=explain,
        explain_by=explain_by or "",
        train_store=train_store,
        groups=groups,
        group_answer=group_answer,
        on_image=images.add,
        path_column=path_column,
        workers=workers,
    )
    if classifier.backbone.warning:
        notice(f"WARNING: {one_line(classifier.backbone.warning)}")
    marks = (classifier.threshold is not None, classifier.unusual is not None, bool(sets))
    layout = Layout(
        classifier.classes, top_k, *marks, classifier.answers.KEY, grouped=groups is not None
    )
    kind = "json" if json_ else format_ or "csv"
    _write(predictions, layout, out, kind, images)
    if not json_:
        images.show(err=out is None)
    _summarise(images, max_failures, explain)


@dataclass
class _Images:
    """What the predictions of all images say together, whatever the rows are."""

    model: Model
    title: str
    paths: Sequence[str]
    summary: bool
    groups: Path | None
    counts: Counter[str] = field(default_factory=Counter)
    ungrouped: int = 0
    predictions: list[Prediction] = field(default_factory=list)

    def add(self, prediction: Prediction) -> None:
        self.counts.update(_kinds(prediction))
        if self.summary:
            self.predictions.append(prediction)

    def document(self) -> dict[str, Any]:
        return {"summary": self._drift().to_json()} if self.summary else {}

    def show(self, err: bool) -> None:
        for line in drift_table.lines(self._drift()) if self.summary else ():
            click.echo(line, err=err)

    def _drift(self) -> Drift:
        data = ", ".join(map(one_line, self.paths))
        return summarise(self.model, self.predictions, self.title, data, self.groups, self.paths)


def _write(
    predictions: Iterable[Prediction],
    layout: Layout,
    out: Path | None,
    kind: str,
    images: _Images,
) -> None:
    rows = 0
    with writer(layout, out, kind, images.document) as write:
        for prediction in predictions:
            write(prediction)
            rows += 1
            images.ungrouped += layout.grouped and not getattr(prediction, "group", "")
    if out is not None:
        click.echo(f"{one_line(out)}: {count(rows, 'prediction')}")


def _summarise(images: _Images, max_failures: float, explain: Path | None) -> None:
    counts = images.counts
    for line in about_ungrouped(images.ungrouped, counts["all"]):
        notice(line)
    if explain is not None:
        notice(f"{one_line(explain / 'index.html')} shows where the model looks")
    if counts["unlike"]:
        notice(
            f"{counts['unlike']:,} of {count(counts['all'], 'image')} are not like any training "
            "image; do not rely on their labels"
        )
    if counts["failed"]:
        models.check_failures(counts["failed"], counts["all"], max_failures, notice)


def _kinds(prediction: Prediction) -> Iterator[str]:
    yield "all"
    if prediction.error:
        yield "failed"
    if prediction.unlike:
        yield "unlike"
