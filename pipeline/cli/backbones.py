"""``headstart backbones``: list, search and look into what can be used."""

from __future__ import annotations

import dataclasses

import click
from rich import box
from rich.console import Console
from rich.table import Table

from pipeline import backbones
from pipeline.backbones.catalogue import Entry
from pipeline.backbones.layers import Layer
from pipeline.cli.options import as_json, preprocess, print_json
from pipeline.errors import InputError, near_matches, one_line

_WIDTH = 150  # of the table, where it is not printed on a terminal
_SHOWN = 40  # without a query; the whole is some 2,000


@click.command()
@click.argument("query", nargs=-1)
@click.option("--layers", is_flag=True, help="List the layers of the backbone named QUERY.")
@click.option("--at-hand", is_flag=True, help="Only those whose weights are on this machine.")
@preprocess
@as_json
def command(
    query: tuple[str, ...], layers: bool, at_hand: bool, preprocess: str, json_: bool
) -> None:
    """List the pretrained networks whose name, architecture or licence holds all words of QUERY."""
    words = " ".join(query)
    if layers:
        if not words:
            raise click.UsageError("--layers needs the name of a backbone")
        _show_layers(words, backbones.layers_of(words, preprocess), json_)
        return
    rows = [(entry, backbones.at_hand(entry)) for entry in backbones.available(words)]
    rows = [row for row in rows if row[1] or not at_hand]
    if json_:
        print_json({"backbones": [dataclasses.asdict(e) | {"at_hand": held} for e, held in rows]})
    elif not rows and not at_hand:
        known = {entry.base for entry in backbones.available()}
        hint = near_matches(words, known)
        raise InputError(f"nothing matches {one_line(words)!r}; {hint}or try a shorter word")
    else:
        _show(rows, everything=bool(words or at_hand))


def _show(rows: list[tuple[Entry, bool]], everything: bool) -> None:
    rows = sorted(rows, key=lambda row: not row[1])  # what can be used at once comes first
    shown = rows if everything else rows[:_SHOWN]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", overflow="fold")
    for title in ("M params", "GMACs", "features", "input", "top-1"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold")
    table.add_column("weights", no_wrap=True)
    for entry, held in shown:
        table.add_row(
            one_line(entry.name),
            _figure(entry.parameters and entry.parameters / 1e6, ".1f"),
            _figure(entry.gmacs, ".2f"),
            _figure(entry.features, ",d"),
            f"{entry.size[0]} × {entry.size[1]}",
            _figure(entry.accuracy, ".1f"),
            one_line(entry.licence or "–"),
            "at hand" if held else "to fetch" if entry.url else "none",
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(table)
    if len(shown) < len(rows):
        click.echo(f"… and {len(rows) - len(shown):,} more; search with: headstart backbones QUERY")


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _show_layers(name: str, layers: list[Layer], json_: bool) -> None:
    if json_:
        print_json({"backbone": name, "layers": [dataclasses.asdict(layer) for layer in layers]})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("layout", no_wrap=True)
    for layer in layers:
        held = f"{layer.layout}, class token first" if layer.classed else layer.layout
        table.add_row(one_line(layer.name), " × ".join(map(str, layer.shape)), held)
    Console(highlight=False, width=_WIDTH).print(table)
