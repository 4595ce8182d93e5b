"""``headstart demo-data``: write the synthetic texture set."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.options import FILE, seed
from headstart.core.errors import one_line
from headstart.datasets import demo


@click.command()
@click.argument("out", type=FILE)
@seed
@click.option("--per-class", type=click.IntRange(min=4), default=80, show_default=True)
def command(out: Path, seed: int, per_class: int) -> None:
    """Draw 10 classes of surface into OUT, split into train and test."""
    count = demo.write(out, seed, per_class)
    if count:
        click.echo(f"{one_line(out)}: {count:,} images of {len(demo.CLASSES)} classes written")
    else:
        click.echo(f"{one_line(out)}: the demo data are there already, nothing to do")
