"""``headstart suggest``: which unlabelled images to label next."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli import suggest_table
from headstart.cli.help import Command
from headstart.cli.options import FILE, as_json, ignore, seed
from headstart.cli.output import print_json
from headstart.core import choices
from headstart.core.errors import one_line
from headstart.workflows.suggestion import suggest


@click.command(
    cls=Command,
    examples="""
suggest photos.h5 --n 50 --out label-me.csv --report label-me.html
suggest results unlabelled.h5 --out label-me.csv
""",
)
@click.argument("source", type=FILE, metavar="STORE|RESULTS|MODEL")
@click.argument("pool", type=FILE, metavar="[STORE]", required=False)
@click.option("--n", default=100, show_default=True, help="Number of images to suggest.")
@click.option(
    "--strategy",
    type=click.Choice(choices.STRATEGIES),
    default=choices.STRATEGIES[0],
    show_default=True,
    help="auto is uncertainty where there is a model or enough labels for one, else diverse.",
)
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="Table to write; fill in the labels, and embed it with features.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(choices.LABEL_FORMATS),
    default=choices.LABEL_FORMATS[0],
    show_default=True,
    help="Format of the file: CSV, or tasks with guesses for an annotation tool.",
)
@click.option(
    "--all",
    "all_images",
    is_flag=True,
    help="List the other images in the table too, with their labels, to continue the store.",
)
@click.option("--report", type=FILE, metavar="PAGE.html", help="Page with the pictures to write.")
@click.option("--layer", default="", help="Layer of a store with several.")
@click.option(
    "--no-near-duplicates",
    is_flag=True,
    help="Take images for copies only if their files are identical.",
)
@click.option(
    "--target",
    type=click.Choice(choices.TARGETS),
    help="What images without any labels yet will have.  [default: that of the store]",
)
@ignore
@seed
@as_json
def command(
    source: Path,
    pool: Path | None,
    n: int,
    strategy: str,
    out: Path | None,
    format_: str,
    all_images: bool,
    report: Path | None,
    layer: str,
    no_near_duplicates: bool,
    target: str | None,
    ignore: tuple[str, ...],
    seed: int,
    json_: bool,
) -> None:
    """Choose the unlabelled images whose labels help most.

    The images are the unlabelled ones of a feature store: a second STORE, the only one, or that of
    the results. Images that are chosen stay in training: their column origin keeps them out of the
    test split.
    """
    result = suggest(
        source,
        pool,
        n=n,
        strategy=strategy,
        out=out,
        format=format_,
        all_images=all_images,
        report=report,
        layer=layer,
        near_duplicates=not no_near_duplicates,
        ignore=ignore,
        target=target or "",
        seed=seed,
    )
    if json_:
        print_json(result.to_json())
        return
    for line in suggest_table.lines(result, shown=None if out is None else suggest_table.FEW):
        click.echo(line)
    if out is not None and format_ != choices.LABEL_FORMATS[0]:
        click.echo(f"import {one_line(out)} into the tool, and embed its export with features")
    elif out is not None:
        column = "labels" if result.target == choices.TARGETS[1] else "label"
        then = "run headstart features on it"
        if result.imported:
            then = "give it to headstart import-features as --labels"
        click.echo(f"fill in the column {column} of {one_line(out)}, and {then}")
    if report is not None:
        click.echo(f"the page is {one_line(report)}: open it in a browser")
