"""The advice on fine-tuning as a table on the terminal."""

from __future__ import annotations

from typing import Any

import click

from headstart.cli.output import Alignment, table

_TITLES = ("gain in points", "95 % interval", "accuracy", "minutes", "risk")


def show(advice: dict[str, Any]) -> None:
    """Print the expected gain, time and risk of every mode, and the recommendation."""
    rows = []
    for mode in advice["modes"]:
        low, high = (100 * value for value in mode["gain_ci"])
        least, most = (value / 60 for value in mode["seconds_range"])
        rows.append(
            [
                mode["mode"],
                f"{100 * mode['gain']:+.1f}",
                f"{low:+.1f} to {high:+.1f}",
                f"{100 * mode['accuracy']:.1f} %",
                f"{least:.1f} to {most:.1f}",
                f"{100 * mode['risk']:.0f} %",
            ]
        )
    columns: dict[str, Alignment] = dict.fromkeys(("mode", *_TITLES), "right")
    table(columns, [rows], optional=("accuracy",))
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
