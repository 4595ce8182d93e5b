"""``headstart import-features``: features that another program computed become a store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE, as_json, column_options
from headstart.cli.output import print_json
from headstart.core import choices
from headstart.core.errors import count, one_line
from headstart.workflows.imported import import_features


@click.command(
    cls=Command,
    examples="""
import-features embeddings.npz --name dinov2-l --out dinov2.h5
import-features clam/h5_files --labels slides.csv --out uni.h5
train-heads photos.h5 dinov2.h5 --out results
""",
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("--out", type=FILE, required=True, help="Feature store to write.")
@click.option(
    "--labels",
    type=FILE,
    help="Table of names and labels (.csv, .tsv), or labels in the order of the rows (.npy).  "
    "[default: the columns of FILE]",
)
@click.option(
    "--name",
    default="",
    help="Network that computed the features.  [default: what FILE says, or its name]",
)
@click.option(
    "--aggregate",
    type=click.Choice(choices.AGGREGATES),
    default=choices.AGGREGATES[0],
    show_default=True,
    help="One row for a slide, the mean of its patches, or a row for each patch.",
)
@click.option(
    "--features",
    default="",
    metavar="NAME",
    help="Array or column with the features, or how their numbered columns begin.",
)
@column_options
@click.option(
    "--label-columns",
    default="",
    metavar="A,B,…",
    help="Columns of 0 and 1, one for each label, if a row may have several.",
)
@click.option(
    "--target", type=click.Choice(choices.TARGETS), help="One class a row, or several labels."
)
@as_json
def command(
    files: tuple[Path, ...],
    out: Path,
    labels: Path | None,
    name: str,
    aggregate: str,
    features: str,
    label_column: str,
    path_column: str,
    label_columns: str,
    target: str | None,
    json_: bool,
) -> None:
    """Make a feature store, without images, of features that another program computed.

    FILE is .npy, .npz, .csv, .tsv or .parquet; or the .h5 files of CLAM and TRIDENT, one for each
    slide, or their folder. Names join the rows with labels, and with stores of the same images.
    """
    summary = import_features(
        list(files),
        out,
        labels=labels,
        name=name,
        aggregate=aggregate,
        features=features,
        label_column=label_column,
        path_column=path_column,
        label_columns=label_columns,
        target=target or "",
    )
    if json_:
        facts = dataclasses.asdict(summary) | {"store": str(out)}
        print_json(facts | {"groups": summary.groups and str(summary.groups)})
        return
    for remark in summary.remarks:
        click.echo(one_line(remark))
    click.echo(
        f"{one_line(out)}: {summary.source}; {count(summary.dim, 'feature')} of "
        f"{one_line(summary.backbone)}"
    )
    if summary.groups is not None:
        click.echo(
            f"{one_line(summary.groups)}: the slide of each row; keep slides together with: "
            f"headstart train-heads {one_line(out)} --groups {one_line(summary.groups)}"
        )
