"""``headstart backbones``: list what can be used."""

from __future__ import annotations

import dataclasses

import click

from pipeline import backbones
from pipeline.cli.options import as_json, print_json


@click.command()
@as_json
def command(json_: bool) -> None:
    """List the pretrained networks and whether their weights are at hand."""
    found = backbones.available()
    if json_:
        rows = [dataclasses.asdict(p.backbone) | {"at_hand": p.at_hand()} for p in found]
        print_json({"backbones": rows})
        return
    for provider in found:
        facts = provider.backbone
        size = f"{facts.preprocess.crop} × {facts.preprocess.crop}"
        state = "weights at hand" if provider.at_hand() else "weights missing"
        click.echo(f"{facts.name}  {facts.dim} features, {size}, {facts.licence}, {state}")
        click.echo(f"    {facts.source}")
