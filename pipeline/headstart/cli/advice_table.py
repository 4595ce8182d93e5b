"""The advice on fine-tuning, as a table on the terminal or one JSON document."""

from __future__ import annotations

from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from headstart.cli.options import print_json


def print_advice(advice: dict[str, Any], as_json: bool) -> None:
    """Print what every mode is expected to bring, and which one to take."""
    if as_json:
        print_json(advice)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("mode", "gain in points", "95 % interval", "accuracy", "minutes", "risk"):
        table.add_column(title, justify="left" if title == "mode" else "right", no_wrap=True)
    for one in advice["modes"]:
        low, high = (100 * value for value in one["gain_ci"])
        least, most = (value / 60 for value in one["seconds_range"])
        table.add_row(
            one["mode"] + ("" if one["tried"] else "*"),
            f"{100 * one['gain']:+.1f}",
            f"{low:+.1f} to {high:+.1f}",
            f"{100 * one['accuracy']:.1f} %",
            f"{least:.1f} to {most:.1f}",
            f"{100 * one['risk']:.0f} %",
        )
    Console(highlight=False).print(table)
    images, frozen, trial = advice["images"], advice["frozen"], advice["trial"]
    click.echo("* was only timed; what top did stands for it, with a wider interval")
    click.echo(
        "gain is over logistic regression on the frozen features, which has "
        f"{100 * frozen['accuracy']:.1f} % in cross-validation; risk is the probability of none"
    )
    click.echo(
        f"{images['train']:,} training images, {images['classes']} classes; tried on "
        f"{trial['images']:,}, scored on {trial['held_out']:,} others"
    )
    doubling = frozen["learning_curve"]["doubling"]
    if doubling is not None:
        click.echo(
            f"twice the images are expected to bring {100 * doubling['gain']:+.1f} points on the "
            "frozen features"
        )
    click.echo(f"advice: {advice['why']}")
