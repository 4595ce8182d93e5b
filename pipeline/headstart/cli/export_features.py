"""``headstart export-features``: a feature store as a table for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.options import FILE, PLACE
from headstart.core.errors import one_line
from headstart.datasets import mirror
from headstart.features.export_table import KINDS, export_features


@click.command()
@click.argument("store", type=PLACE)
@click.option("--to", type=click.Choice(KINDS), required=True, help="The format.")
@click.option("--out", type=FILE, help="The file.  [default: STORE with the format's ending]")
@click.option("--layer", default="", help="Of a store with several layers, which one.")
def command(store: Path | str, to: str, out: Path | None, layer: str) -> None:
    """Write embeddings, a map in two dimensions, labels and paths as a table.

    For pandas, embedding-atlas, FiftyOne, Spotlight and others. The map is that of the first two
    principal components. Formats: parquet, csv, or npy with the other columns as CSV beside it.
    """
    if isinstance(store, str) and out is None:
        raise click.UsageError("give --out for a store behind a URL")
    written = export_features(mirror.read_here(store), to, out, layer)
    click.echo(", ".join(map(one_line, written)) + " written")
