"""``headstart demo-data``: write the synthetic texture set."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE, seed
from headstart.core.errors import one_line
from headstart.workflows.features import write_demo_data


@click.command(cls=Command, examples="demo-data textures")
@click.argument("out", type=FILE)
@seed
@click.option(
    "--per-class",
    type=click.IntRange(min=4),
    default=80,
    show_default=True,
    help="Images of each class.",
)
def command(out: Path, seed: int, per_class: int) -> None:
    """Draw 10 classes of surfaces into OUT, split into train and test."""
    count = write_demo_data(out, seed=seed, per_class=per_class)
    if count:
        click.echo(f"{one_line(out)}: {count:,} images of 10 classes written")
    else:
        click.echo(f"{one_line(out)}: the demo data exist already, nothing to do")
