"""``headstart report``: write the report of a comparison again."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE, map_method
from headstart.cli.output import hooks
from headstart.core.choices import MAPS
from headstart.workflows.reports import write_report


@click.command(cls=Command, examples="report results --map pca")
@click.argument("folder", metavar="DIR", type=FILE)
@map_method
@click.option(
    "--explain",
    is_flag=True,
    help="Show where the model looks in the errors, if their images are where they were: reads and"
    " classifies up to 30 images, with several labels on one image up to 96.",
)
def command(folder: Path, map_method: str | None, explain: bool) -> None:
    """Write DIR/report.html from the results in DIR and the stores that they name."""
    with hooks("report") as shown:
        page = write_report(folder, map_method=map_method or MAPS[0], explain=explain, hooks=shown)
    click.echo(page)
