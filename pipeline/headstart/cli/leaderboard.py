"""The results of a comparison as tables on the terminal."""

from __future__ import annotations

from typing import Any

import click

from headstart.cli.output import table
from headstart.core.errors import one_line
from headstart.workflows import leaderboard

_WIDTH = 160


def show(results: dict[str, Any]) -> None:
    """Print heads and baselines, the warnings, and the data behind the figures."""
    keys = leaderboard.columns(results)
    sections: dict[str, list[list[str]]] = {"head": [], "baseline": []}
    for row in leaderboard.rows(results):
        cells = leaderboard.cells(row)
        sections[row["kind"]].append([cells[key] for key in keys])
    styles = {"backbone": "fold", "head": "left", "verdict": "left"}
    columns = {leaderboard.TITLES[key]: styles.get(key, "right") for key in keys}
    table(columns, list(sections.values()), width=_WIDTH)
    approximate = {h["name"]: h["approximation"] for h in results["heads"] if h["approximation"]}
    for name, method in approximate.items():
        click.echo(f"* {name} is approximate: {method}")
    for warning in results["warnings"]:
        click.echo(f"note: {one_line(warning)}")
    data, protocol = results["dataset"], results["protocol"]
    click.echo(
        f"{data['n_images']:,} images, {len(data['classes'])} classes; tuned on "
        f"{protocol['n_train']:,}, scored once on {protocol['n_test']:,} test images "
        f"({data['test_split']})"
    )
    for line in leaderboard.summaries(results):
        click.echo(line)
    backbones = results["backbones"]
    if len(backbones) > 1 and backbones[0]["scores"]:  # a fine-tuned one has none
        _show_scores(backbones)


def _show_scores(backbones: list[dict[str, Any]]) -> None:
    """Print the scores that rank backbones before any head is trained."""
    names = list(backbones[0]["scores"])
    rows = []
    for backbone in backbones:
        values = [backbone["scores"][name] for name in names]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        rows.append([one_line(backbone["backbone"]), *cells])
    table({"backbone": "fold"} | dict.fromkeys(names, "right"), [rows], width=_WIDTH)
