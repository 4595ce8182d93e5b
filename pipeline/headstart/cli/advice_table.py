"""The advice on fine-tuning as a table on the terminal."""

from __future__ import annotations

from typing import Any

import click

from headstart.cli.output import Alignment, table

_GAINS = ("gain in points", "95 % interval", "accuracy", "risk")


def show(advice: dict[str, Any]) -> None:
    """Print the expected gain, time and risk of every mode, and the recommendation."""
    predicted = all("gain" in mode for mode in advice["modes"])
    titles = ("mode", *(_GAINS if predicted else ()), "minutes")
    columns: dict[str, Alignment] = dict.fromkeys(titles, "right")
    rows = [
        [mode["mode"], *(_gain(mode) if predicted else ()), _minutes(mode)]
        for mode in advice["modes"]
    ]
    table(columns, [rows], optional=("accuracy",))
    images, frozen, basis = advice["images"], advice["frozen"], advice["basis"]
    own = f"mAP {frozen['map']:.3f}" if "map" in frozen else f"{100 * frozen['accuracy']:.1f} %"
    click.echo(
        f"{images['train']:,} training images, {images['classes']}"
        f" {'labels' if 'map' in frozen else 'classes'}; logistic regression on the frozen features"
        f" has {own} in cross-validation"
    )
    if predicted:
        click.echo(
            "gain is over it, risk is the probability of no gain; gains are estimated from"
            f" {basis['runs']}"
        )
        if not basis["covers_these_images"]:
            click.echo("WARNING: these images lie outside those runs, so gains are a rough guess")
    click.echo("times are measured on this machine")
    doubling = frozen["learning_curve"]["doubling"]
    if doubling is not None:
        click.echo(
            f"twice the images should gain {100 * doubling['gain']:+.1f} points on the frozen "
            "features"
        )
    click.echo(f"advice: {advice['why']}")


def _gain(mode: dict[str, Any]) -> list[str]:
    low, high = (100 * value for value in mode["gain_ci"])
    return [
        f"{100 * mode['gain']:+.1f}",
        f"{low:+.1f} to {high:+.1f}",
        f"{100 * mode['accuracy']:.1f} %",
        f"{100 * mode['risk']:.0f} %",
    ]


def _minutes(mode: dict[str, Any]) -> str:
    least, most = (value / 60 for value in mode["seconds_range"])
    return f"{least:.1f} to {most:.1f}"
