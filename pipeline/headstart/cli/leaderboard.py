"""The results of a comparison as tables on the terminal."""

from __future__ import annotations

from typing import Any

import click

from headstart.cli.output import Alignment, say, table
from headstart.core.errors import one_line
from headstart.workflows import leaderboard


def show(results: dict[str, Any]) -> None:
    """Print heads and baselines, the warnings, and the data behind the figures."""
    keys, own = leaderboard.columns(results), leaderboard.of(results)
    sections: dict[str, list[list[str]]] = {"head": [], "baseline": []}
    for row in leaderboard.rows(results):
        cells = leaderboard.cells(results, row)
        sections[row["kind"]].append([cells[key] for key in keys])
    columns: dict[str, Alignment] = {own.TITLES[key]: _alignment(key in own.LEFT) for key in keys}
    optional = [own.TITLES[key] for key in own.OPTIONAL]
    table(columns, list(sections.values()), optional=optional)
    approximate = {h["name"]: h["approximation"] for h in results["heads"] if h["approximation"]}
    for name, method in approximate.items():
        click.echo(f"* {name} is approximate: {method}")
    for line in leaderboard.warnings(results):
        click.echo(line)
    click.echo(leaderboard.provenance(results))
    if results["conclusion"]:
        click.echo(one_line(results["conclusion"]))
    for lines in leaderboard.summaries(results):
        for line in lines.splitlines():
            say(line)
    backbones = results["backbones"]
    if len(backbones) > 1 and backbones[0]["scores"]:  # a fine-tuned one has none
        _show_scores(backbones)


def _alignment(is_text: bool) -> Alignment:
    return "left" if is_text else "right"


def _show_scores(backbones: list[dict[str, Any]]) -> None:
    """Print the scores that rank backbones before any head is trained."""
    names = list(backbones[0]["scores"])
    rows = []
    for backbone in backbones:
        values = [backbone["scores"][name] for name in names]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        rows.append([one_line(backbone["backbone"]), *cells])
    scores: dict[str, Alignment] = dict.fromkeys(("backbone", *names), "right")
    table(scores | {"backbone": "left"}, [rows], optional=names[::-1])
