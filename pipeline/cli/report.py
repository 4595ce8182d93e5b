"""``headstart report``: (re)write the report of a comparison."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import report
from pipeline.cli.options import FILE


@click.command()
@click.argument("folder", metavar="DIR", type=FILE)
def command(folder: Path) -> None:
    """Write DIR/report.html from the results in DIR."""
    click.echo(report.write_report(folder))
