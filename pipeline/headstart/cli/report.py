"""``headstart report``: (re)write the report of a comparison."""

from __future__ import annotations

from pathlib import Path

import click

from headstart import report
from headstart.cli.options import FILE, map_how
from headstart.core.errors import StoreError, one_line
from headstart.core.records import FeatureSet
from headstart.features import store
from headstart.report import projection


@click.command()
@click.argument("folder", metavar="DIR", type=FILE)
@map_how
def command(folder: Path, how: str | None) -> None:
    """Write DIR/report.html from the results in DIR and the stores that they name."""
    click.echo(report.write_report(folder, _stores(folder), how or projection.HOW[0]))


def _stores(folder: Path) -> list[FeatureSet]:
    """Read the stores that are still there; of the others, say so."""
    held: list[FeatureSet] = []
    for path in report.store_paths(folder):
        try:
            held += store.read_layers(path)
        except StoreError as error:
            click.echo(f"without the map and thumbnails of {one_line(path)}: {error}", err=True)
    return held
