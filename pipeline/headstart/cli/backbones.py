"""``headstart backbones``: list, search and look into what can be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from headstart import backbones
from headstart.backbones.catalogue import Entry
from headstart.backbones.layers import Layer
from headstart.cli.options import FILE, as_json, preprocess, print_json, seed, workers
from headstart.core.errors import InputError, near_matches, one_line
from headstart.core.records import Choice

_WIDTH = 150  # of the table, where it is not printed on a terminal
_SHOWN = 40  # without a query; the whole is some 2,000


@click.command()
@click.argument("query", nargs=-1)
@click.option("--layers", is_flag=True, help="List the layers of the backbone named QUERY.")
@click.option("--at-hand", is_flag=True, help="Only those whose weights are on this machine.")
@click.option("--for", "data", metavar="DATA", help="Try those at hand on a sample of DATA.")
@click.option("--backbone", "named", multiple=True, help="With --for: try this one too.")
@click.option("--only-named", is_flag=True, help="With --for: try nothing but those.")
@click.option("--weights", default="", help="With --for: FILE or random, for those named.")
@click.option(
    "--images", type=click.IntRange(min=20), default=500, show_default=True, help="With --for."
)
@click.option("--out", type=FILE, help="With --for: folder for choice.json and a plot.")
@seed
@workers
@preprocess
@as_json
def command(
    query: tuple[str, ...],
    layers: bool,
    at_hand: bool,
    preprocess: str,
    json_: bool,
    **trial: Any,  # noqa: ANN401 - those of _choose
) -> None:
    """List the pretrained networks whose name, architecture or licence holds all words of QUERY.

    With --for DATA, try them: a sample of DATA is embedded by each, and the accuracy of logistic
    regression on it set against the cost.
    """
    words = " ".join(query)
    if trial["data"]:
        _choose(words, preprocess, json_, **trial)
        return
    if trial["named"] or trial["out"] or trial["weights"] or trial["only_named"]:
        raise click.UsageError("--backbone, --only-named, --weights and --out need --for DATA")
    if layers:
        if not words:
            raise click.UsageError("--layers needs the name of a backbone")
        _show_layers(words, backbones.layers_of(words, preprocess), json_)
        return
    _list(words, at_hand, json_)


def _list(words: str, at_hand: bool, json_: bool) -> None:
    found = backbones.available(words, lambda line: click.echo(line, err=True))
    rows = [(entry, backbones.is_available(entry)) for entry in found]
    rows = [row for row in rows if row[1] or not at_hand]
    if json_:
        print_json({"backbones": [dataclasses.asdict(e) | {"at_hand": held} for e, held in rows]})
    elif not rows and not at_hand:
        known = {entry.base for entry in backbones.available()}
        hint = near_matches(words, known) or "try a shorter word, or see all: headstart backbones"
        raise InputError(f"nothing matches {one_line(words)!r}; {hint.rstrip('; ')}")
    else:
        _show(rows, everything=bool(words or at_hand))


def _choose(
    words: str,
    preprocess: str,
    json_: bool,
    data: str,
    named: tuple[str, ...],
    only_named: bool,
    weights: str,
    images: int,
    out: Path | None,
    seed: int,
    workers: int | None,
) -> None:
    from headstart.cli import backbone_choice
    from headstart.evaluation.backbone_choice import PLOT, TABLE, ChooseConfig, choose

    if (weights or only_named) and not named:
        raise click.UsageError("--weights and --only-named need --backbone NAME")
    choices = tuple(
        Choice(name, weights, preprocess=preprocess if name.startswith("onnx:") else "")
        for name in named
    )
    config = ChooseConfig(choices, words, not only_named, images, seed, workers)
    chosen = choose(data, config, out, lambda line: click.echo(line, err=True))
    if json_:
        print_json(chosen.to_json())
    else:
        backbone_choice.show(chosen)
        if out is not None:
            click.echo(f"{one_line(out)}: {TABLE} and the plot {PLOT}, written")


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
