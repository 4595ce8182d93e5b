"""``headstart export-features``: a feature store as a table for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE
from headstart.core.choices import TABLE_FORMATS
from headstart.core.errors import one_line
from headstart.workflows.features import export_features


@click.command(cls=Command, examples="export-features photos.h5 --to parquet")
@click.argument("store")
@click.option("--to", type=click.Choice(TABLE_FORMATS), required=True, help="Format of the table.")
@click.option("--out", type=FILE, help="File to write.  [default: STORE with the format's ending]")
@click.option("--layer", default="", help="Layer of a multi-layer store.")
def command(store: str, to: str, out: Path | None, layer: str) -> None:
    """Write embeddings, a map in two dimensions, labels and paths as a table.

    For pandas, embedding-atlas, FiftyOne, Spotlight and others. The map shows the first two
    principal components. npy puts the other columns into a CSV file beside the embeddings.
    """
    written = export_features(store, out, to=to, layer=layer)
    click.echo(", ".join(map(one_line, written)) + " written")
