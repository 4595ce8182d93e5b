"""The table of ``headstart backbones --for DATA``."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table

from headstart.core.errors import one_line
from headstart.evaluation.backbone_choice import Chosen

_WIDTH = 150  # of the table, where it is not printed on a terminal
_NAMED = 3  # of those that were not tried


def show(chosen: Chosen) -> None:
    """Print the backbones, the most accurate one first, and what was not tried."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", overflow="fold")
    for title in ("CV accuracy", "95 % interval", "LogME", "images/s", "MB", "features"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in chosen.tried:
        table.add_row(
            one_line(one.name),
            f"{100 * one.accuracy:.1f}%",
            f"{100 * one.interval[0]:.1f}–{100 * one.interval[1]:.1f}",
            f"{one.logme:.3f}",
            f"{one.images_per_second:.1f}",
            f"{one.megabytes:.1f}",
            f"{one.features:,}",
            one.verdict + (", efficient" if one.efficient else ""),
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(table)
    click.echo(
        f"{chosen.images:,} images of {chosen.classes:,} classes, none of the test split; "
        f"suggested: {one_line(chosen.suggested)}, the fastest that is not worse than the best"
    )
    for name, reason in chosen.failed.items():
        click.echo(f"failed: {one_line(name)}: {one_line(reason)}", err=True)
    for one in chosen.tried:
        if one.warning:
            click.echo(f"WARNING: {one_line(one.warning)}", err=True)
    if chosen.not_tried:
        named = ", ".join(map(one_line, chosen.not_tried[:_NAMED]))
        rest = ", …" if len(chosen.not_tried) > _NAMED else ""
        click.echo(
            f"not tried, because their weights are not on this machine: {len(chosen.not_tried):,} "
            f"({named}{rest}); name those to be fetched with --backbone"
        )
