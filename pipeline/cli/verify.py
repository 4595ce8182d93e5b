"""``headstart verify``: check a feature store."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import store
from pipeline.cli.options import FILE
from pipeline.errors import StoreError, one_line


@click.command()
@click.argument("path", metavar="STORE", type=FILE)
def command(path: Path) -> None:
    """Check STORE completely and name every defect."""
    defects = store.verify(path)
    for defect in defects:
        click.echo(one_line(defect))
    if defects:
        raise StoreError(
            f"{one_line(path)} has {len(defects):,} defects; embed again with: headstart features"
        )
    click.echo(f"{one_line(path)}: sound")
