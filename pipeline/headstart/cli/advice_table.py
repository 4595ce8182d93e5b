"""The advice on fine-tuning, as a table on the terminal or one JSON document."""

from __future__ import annotations

from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from headstart.cli.options import print_json


def print_advice(advice: dict[str, Any], as_json: bool) -> None:
    """Print what every mode should gain, and which one to take."""
    if as_json:
        print_json(advice)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("mode", "gain in points", "95 % interval", "accuracy", "minutes", "risk"):
        table.add_column(title, justify="left" if title == "mode" else "right", no_wrap=True)
    for mode in advice["modes"]:
        low, high = (100 * value for value in mode["gain_ci"])
        least, most = (value / 60 for value in mode["seconds_range"])
        table.add_row(
            mode["mode"],
            f"{100 * mode['gain']:+.1f}",
            f"{low:+.1f} to {high:+.1f}",
            f"{100 * mode['accuracy']:.1f} %",
            f"{least:.1f} to {most:.1f}",
            f"{100 * mode['risk']:.0f} %",
        )
    Console(highlight=False).print(table)
    images, frozen, basis = advice["images"], advice["frozen"], advice["basis"]
    click.echo(
        f"{images['train']:,} training images, {images['classes']} classes; gain is over logistic "
        f"regression on the frozen features ({100 * frozen['accuracy']:.1f} % in "
        "cross-validation); risk is the probability of no gain"
    )
    click.echo(f"gains are estimated from {basis['runs']}; times are measured on this machine")
    if not basis["covers_these_images"]:
        click.echo("WARNING: these images lie outside those runs, so the gains are a rough guess")
    doubling = frozen["learning_curve"]["doubling"]
    if doubling is not None:
        click.echo(
            f"twice the images should gain {100 * doubling['gain']:+.1f} points on the frozen "
            "features"
        )
    click.echo(f"advice: {advice['why']}")
