"""``headstart predict``: classify images with a model file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from headstart.cli.options import FILE, as_json, device, warn, workers
from headstart.cli.rows import FORMATS, Layout, writer
from headstart.core.errors import one_line
from headstart.datasets import inputs
from headstart.models.predict import Model, Prediction, predict


@click.command()
@click.argument("model", type=FILE)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--out", type=FILE, help="Write FILE.csv or FILE.jsonl instead of CSV on stdout.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Of the rows on stdout.")
@click.option("--top-k", type=click.IntRange(min=1), help="The K most probable classes only.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="P",
    help="Label images whose best class is less probable than P as unknown.",
)
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
    workers: int | None,
    device: str,
    json_: bool,
) -> None:
    """Classify images: files, any source that features takes, or - for a list on stdin.

    Rows come in the order of the images, as soon as they are known. An image that cannot be used
    is a row with an error; one that is unlike all that the model was trained on is marked.
    """
    if out is not None and out.suffix not in (".csv", ".jsonl"):
        raise click.UsageError("--out must end in .csv or .jsonl")
    if (out is not None) + (format_ is not None) + json_ > 1:
        raise click.UsageError("choose one of --out, --format and --json")
    classifier = Model(model, device)
    for path in paths:  # so that a typing error in the last one shows before the first image
        inputs.check(path)
    warn(classifier.backbone)
    layout = Layout(classifier.classes, top_k, classifier.threshold is not None)
    found = predict(classifier, paths, workers, min_confidence)
    counts: Counter[str] = Counter()
    with writer(layout, out, "json" if json_ else format_ or "csv") as write:
        for prediction in found:
            write(prediction)
            counts.update(_kinds(prediction))
    if out is not None:
        click.echo(f"{one_line(out)}: {counts['all']:,} predictions")
    _summarise(counts)


def _kinds(prediction: Prediction) -> Iterator[str]:
    yield "all"
    if prediction.error:
        yield "failed"
    if prediction.unlike:
        yield "unlike"


def _summarise(counts: Counter[str]) -> None:
    if counts["failed"]:
        click.echo(f"{counts['failed']:,} of {counts['all']:,} images could not be used", err=True)
    if counts["unlike"]:
        click.echo(
            f"{counts['unlike']:,} of {counts['all']:,} images are unlike all that the model was "
            "trained on; their labels mean little",
            err=True,
        )
