"""The tables of ``headstart backbones``: the list, the layers of one, and the ranking."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from headstart.cli.console import notice
from headstart.cli.output import Alignment, table
from headstart.core.errors import one_line

if TYPE_CHECKING:
    from headstart.backbones.layers import Layer, LayerList
    from headstart.evaluation.backbone_choice import Chosen

_SHOWN = 40  # without a query; there are some 2,000
_WIDTH = 79
_NAMED = 3  # of those that were not tried


def show_list(rows: Sequence[dict[str, Any]], everything: bool) -> None:
    """Print the backbones, those with downloaded weights first."""
    rows = sorted(rows, key=lambda row: not row["at_hand"])
    shown = rows if everything else rows[:_SHOWN]
    figures = ("M params", "GMACs", "features", "input", "top-1")
    cells = [
        [
            one_line(row["name"]),
            _figure(row["parameters"] and row["parameters"] / 1e6, ".1f"),
            _figure(row["gmacs"], ".2f"),
            _figure(row["features"], ",d"),
            f"{row['size'][0]} × {row['size'][1]}",
            _figure(row["accuracy"], ".1f"),
            one_line(row["licence"] or "–"),
            "at hand" if row["at_hand"] else "to download" if row["url"] else "none",
        ]
        for row in shown
    ]
    table(
        _aligned("backbone", figures, "licence", "weights"),
        [cells],
        optional=("input", "GMACs", "features", "licence", "top-1", "M params"),
    )
    if len(shown) < len(rows):
        click.echo(f"… and {len(rows) - len(shown):,} more; search with: headstart backbones QUERY")


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _aligned(name: str, figures: Sequence[str], *texts: str) -> dict[str, Alignment]:
    """Return the columns of a table: a name, figures, and texts."""
    columns: dict[str, Alignment] = dict.fromkeys((name, *figures, *texts), "left")
    columns.update((title, "right") for title in figures)
    return columns


def show_shortlist(rows: Sequence[dict[str, Any]]) -> None:
    """Print networks worth trying, in lines that fit a terminal of 80 columns but for names."""
    for row in rows:
        facts = [
            f"{row['parameters']:,.1f} M parameters",
            f"{row['download_mb']:,} MB, {row['access']}" if row["download_mb"] else row["access"],
            *(["at hand"] if row["at_hand"] else []),
        ]
        licence = f"licence: {row['licence']}; commercial use: {row['commercial']}"
        click.echo(one_line(row["name"]))
        for line in (", ".join(facts), licence, row["trained_on"]):
            click.echo(textwrap.fill(line, _WIDTH, initial_indent="  ", subsequent_indent="  "))
    click.echo()


def show_commands(rows: Sequence[dict[str, Any]]) -> None:
    """Print the commands that fetch networks, for a machine with a network."""
    click.echo("To fetch those that are missing, on this machine or on one with a network:")
    for row in rows:
        for line in row["commands"] if not row["at_hand"] else ():
            click.echo(f"  {line}")
    click.echo("then copy the hub's cache (~/.cache/huggingface/hub, or HF_HOME) to this machine;")
    click.echo("--yes fetches them here, and with --for DATA ranks them")


def show_layers(listed: LayerList, everything: bool) -> None:
    """Print the layers worth trying, and the others from the deepest on, up to a limit."""
    by_name = {layer.name: layer for layer in listed.layers}
    defaults = [listed.default] if listed.default in by_name else listed.default.split("+")
    first = [layer for layer in listed.worth_trying if layer.name not in defaults]
    others = [
        layer
        for layer in reversed(listed.layers)
        if layer.name not in defaults and layer not in first
    ]
    shown = others if everything else others[: max(0, _SHOWN - len(first))]
    sections = [
        [_layer_row(name, by_name.get(name), "default") for name in defaults],
        [_layer_row(layer.name, layer, "worth trying") for layer in first],
        [_layer_row(layer.name, layer, "") for layer in shown],
    ]
    columns = _aligned("layer", ["shape"], "layout", "")
    table(columns, list(filter(None, sections)), optional=["layout"])
    if len(shown) < len(others):
        click.echo(f"… and {len(others) - len(shown):,} more; see them with: --all")


def _layer_row(name: str, layer: Layer | None, mark: str) -> list[str]:
    if layer is None:  # what the network's own classifier reads
        return [one_line(name), "", "vector", mark]
    layout = f"{layer.layout}, class token first" if layer.classed else layer.layout
    return [one_line(name), " × ".join(map(str, layer.shape)), layout, mark]


def show_file(name: str, document: dict[str, Any]) -> None:
    """Print what an ONNX file from elsewhere is, features worth trying, and the command."""
    lines = {
        "format": document["format"],
        "written by": document["written_by"] or "unknown",
        "opset": document["opset"],
        "takes": ", ".join(document["inputs"]),
        "gives": ", ".join(document["outputs"][:_SHOWN]),
        "licence": document["licence"] or "not in the file",
        "class names": document["classes"] or "not in the file",
        "default": document["default"],
        "images": document["preprocess"]
        + (", a guess: " if document["guess"] else ", ")
        + "; ".join(document["reasons"]),
    }
    for key, value in lines.items():
        click.echo(f"{key}: {value}")
    rows = [
        [
            one_line(layer["name"]),
            " × ".join(map(str, layer["shape"])),
            layer["layout"],
            "default" if layer["name"] == document["layer"] else "",
        ]
        for layer in document["layers"]
    ]
    if document["layer"] not in [layer["name"] for layer in document["layers"]]:
        rows.insert(0, [one_line(document["layer"]), "unknown", "", "default"])
    table(_aligned("worth trying", ["shape"], "layout", ""), [rows], optional=["layout"])
    click.echo("all tensors: add --layers; another one: add #NAME to the path")
    click.echo(
        f"next: headstart features DATA --backbone {shlex.quote(name)} "
        f"--preprocess {shlex.quote(document['preprocess'])} --out FILE.h5"
    )
    if document["guess"]:
        click.echo("if your images have labels, let them choose: --preprocess auto in its place")


_METRICS = {"accuracy": ("CV accuracy", "classes"), "map": ("CV mAP", "labels")}


def show_ranking(chosen: Chosen) -> None:
    """Print the backbones that were tried, the best first, and those that were not."""
    metric, classes = _METRICS[chosen.metric]
    figures = (metric, "95 % interval", "LogME", "images/s", "MB", "features")
    rows = [
        [
            one_line(tried.name),
            f"{100 * tried.accuracy:.1f}%",
            f"{100 * tried.interval[0]:.1f}–{100 * tried.interval[1]:.1f}",
            f"{tried.logme:.3f}",
            f"{tried.images_per_second:.1f}",
            f"{tried.megabytes:.1f}",
            f"{tried.features:,}",
            tried.verdict + (", efficient" if tried.efficient else ""),
        ]
        for tried in chosen.tried
    ]
    table(
        _aligned("backbone", figures, "verdict"),
        [rows],
        optional=("features", "MB", "LogME", "95 % interval", "images/s"),
    )
    click.echo(
        f"{chosen.images:,} images of {chosen.classes:,} {classes}, none of the test split; "
        f"suggested: {one_line(chosen.suggested)}, the fastest that is not worse than the best"
    )
    click.echo("how images were prepared:")
    for tried in chosen.tried:
        click.echo(f"  {one_line(tried.name)}: {tried.preprocessing}")
    for name, reason in chosen.failed.items():
        notice(f"failed: {one_line(name)}: {one_line(reason)}")
    for tried in chosen.tried:
        if tried.warning:
            notice(f"WARNING: {one_line(tried.warning)}")
    if chosen.not_tried:
        names = ", ".join(map(one_line, chosen.not_tried[:_NAMED]))
        rest = ", …" if len(chosen.not_tried) > _NAMED else ""
        click.echo(
            f"not tried, because their weights are not on this machine: {len(chosen.not_tried):,} "
            f"({names}{rest}); download some with --backbone NAME"
        )
