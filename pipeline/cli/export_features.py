"""``headstart export-features``: a feature store as a table for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import FILE
from pipeline.errors import one_line
from pipeline.feature_export import KINDS, export_features


@click.command()
@click.argument("store", type=FILE)
@click.option("--to", type=click.Choice(KINDS), required=True, help="The format.")
@click.option("--out", type=FILE, help="The file.  [default: STORE with the format's ending]")
def command(store: Path, to: str, out: Path | None) -> None:
    """Write embeddings, a map in two dimensions, labels and paths as a table.

    For pandas, embedding-atlas, FiftyOne, Spotlight and others. The map is that of the first two
    principal components. Formats: parquet, csv, or npy with the other columns as CSV beside it.
    """
    written = export_features(store, to, out)
    click.echo(", ".join(map(one_line, written)) + " written")
