"""``headstart backbones``: list and search backbones, list the layers of one, or rank them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from headstart.cli import backbone_tables
from headstart.cli.help import Command
from headstart.cli.options import FILE, as_json, label_options, preprocess, seed, weights, workers
from headstart.cli.output import hooks, print_json
from headstart.core import choices
from headstart.core.errors import count, one_line
from headstart.workflows import backbones


@click.command(
    cls=Command,
    examples="""
backbones convnext tiny
backbones torchvision:resnet18 --layers
backbones onnx:network.onnx
backbones --for photos --out choice
backbones --for slides --shortlist pathology
""",
)
@click.argument("query", nargs=-1)
@click.option("--layers", is_flag=True, help="List the layers of the backbone named QUERY.")
@click.option("--all", "everything", is_flag=True, help="With --layers: no limit on the list.")
@click.option("--at-hand", is_flag=True, help="List only the downloaded ones.")
@click.option(
    "--for", "data", metavar="DATA", help="Rank the downloaded backbones on a sample of DATA."
)
@click.option(
    "--backbone",
    "named",
    multiple=True,
    help="With --for: an additional backbone, also NAME?preprocess=caffe; repeatable.",
)
@click.option(
    "--shortlist",
    type=click.Choice(choices.SHORTLISTS),
    metavar="KIND",
    help=f"Show networks for such images; with --for, fetch and rank them. KIND is one of"
    f" {', '.join(choices.SHORTLISTS)}.",
)
@click.option("--yes", is_flag=True, help="With --shortlist: download without asking.")
@click.option("--only-named", is_flag=True, help="With --for: rank only those of --backbone.")
@weights
@click.option(
    "--images",
    type=click.IntRange(min=20),
    default=500,
    show_default=True,
    help="With --for: size of the sample.",
)
@click.option("--out", type=FILE, help="With --for: folder for choice.json and a plot.")
@label_options
@seed
@workers
@preprocess
@as_json
def command(
    query: tuple[str, ...],
    layers: bool,
    everything: bool,
    at_hand: bool,
    data: str | None,
    named: tuple[str, ...],
    shortlist: str | None,
    yes: bool,
    only_named: bool,
    weights: str,
    images: int,
    out: Path | None,
    label_column: str,
    path_column: str,
    label_columns: str,
    target: str | None,
    seed: int,
    workers: int | None,
    preprocess: str,
    json_: bool,
) -> None:
    """List the pretrained networks whose name, architecture or licence has all words of QUERY.

    With --for DATA, rank them: each embeds a sample of DATA, and the accuracy of logistic
    regression on it, or mean average precision if images have several labels, is compared with
    the cost. The best one is tried with a second --fit of the
    images too, but not with --only-named. --weights is for those of --backbone. --shortlist
    adds networks that were trained on such images, and asks before it downloads them.
    """
    words = " ".join(query)
    if shortlist or yes:
        fetched = _shortlist(shortlist, data, yes, json_)
        if not fetched:
            return
        named = (*named, *fetched)
    if data:
        with hooks("backbones") as shown:
            chosen = backbones.choose_backbone(
                data,
                out,
                query=words,
                candidates=named,
                downloaded=not only_named,
                weights=weights,
                preprocess=preprocess,
                label_column=label_column,
                path_column=path_column,
                label_columns=label_columns,
                target=target or "",
                images=images,
                seed=seed,
                workers=workers,
                hooks=shown,
            )
        _print_ranking(chosen, out, json_)
        return
    reading = label_column or path_column or label_columns or target
    if named or out or weights or only_named or reading:
        raise click.UsageError(
            "--backbone, --only-named, --weights, --label-column, --path-column, --label-columns, "
            "--target and --out need --for DATA"
        )
    _print(words, layers, everything, at_hand, preprocess, json_)


def _shortlist(kind: str | None, data: str | None, yes: bool, json_: bool) -> list[str]:
    """Show a shortlist, and return the names of its networks if they are to be ranked."""
    if kind is None:
        raise click.UsageError("--yes needs --shortlist KIND")
    rows = backbones.suggest_backbones(kind)
    if not json_:
        backbone_tables.show_shortlist(rows)
    missing = [row for row in rows if not row["at_hand"]]
    size = sum(row["download_mb"] for row in missing)
    question = f"Download {count(len(missing), 'network')}, {size:,} MB?"
    asked = bool(missing) and not yes and not json_ and sys.stdin.isatty()
    if yes or (data and not missing) or (asked and click.confirm(question, err=True)):
        with hooks("shortlist") as shown:
            names = backbones.fetch_shortlist(kind, hooks=shown)
        if data:
            return names
        rows = backbones.suggest_backbones(kind)
    if json_:
        print_json({"shortlist": kind, "backbones": rows})
    elif any(not row["at_hand"] for row in rows):
        backbone_tables.show_commands(rows)
    return []


def _print(
    words: str, layers: bool, everything: bool, at_hand: bool, preprocess: str, json_: bool
) -> None:
    if everything and not layers:
        raise click.UsageError("--all needs --layers")
    if layers:
        _print_layers(words, preprocess, everything, json_)
    elif backbones.is_network_file(words):
        _print_file(words, preprocess, json_)
    else:
        _print_list(words, at_hand, json_)


def _print_ranking(chosen: backbones.Chosen, out: Path | None, json_: bool) -> None:
    if json_:
        print_json(chosen.to_json())
        return
    backbone_tables.show_ranking(chosen)
    if out is not None:
        click.echo(f"{one_line(out)}: choice.json and the plot accuracy_cost.svg written")


def _print_file(name: str, preprocess: str, json_: bool) -> None:
    document = backbones.describe_file(name, preprocess=preprocess)
    if json_:
        print_json({"backbone": name, **document})
    else:
        backbone_tables.show_file(name, document)


def _print_layers(name: str, preprocess: str, everything: bool, json_: bool) -> None:
    if not name:
        raise click.UsageError("--layers needs the name of a backbone")
    listed = backbones.layer_list(name, preprocess=preprocess)
    if json_:
        document = {
            "backbone": name,
            "default": listed.default,
            "worth_trying": [layer.name for layer in listed.worth_trying],
            "layers": [dataclasses.asdict(layer) for layer in listed.layers],
        }
        print_json(document)
    else:
        backbone_tables.show_layers(listed, everything)


def _print_list(words: str, at_hand: bool, json_: bool) -> None:
    with hooks("backbones") as shown:
        rows = backbones.list_backbones(words, downloaded=at_hand, hooks=shown)
    if json_:
        print_json({"backbones": rows})
    else:
        backbone_tables.show_list(rows, everything=bool(words or at_hand))
