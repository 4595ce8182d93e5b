"""The results of a comparison as a table on the terminal."""

from __future__ import annotations

from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from headstart.core.errors import one_line
from headstart.report.sections import summaries

_WIDTH = 160  # at most, wherever it is printed
_TITLES = ("test", "95 % interval", "CV accuracy", "macro F1", "log loss", "ECE", "s")


def print_table(results: dict[str, Any]) -> None:
    """Print heads and baselines, the warnings, and what the figures rest on."""
    several = len(results["backbones"]) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if several:
        table.add_column("backbone", overflow="fold")  # names of layers may be long
    table.add_column("head", no_wrap=True)
    for title in _TITLES:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    for rows in (results["heads"], results["baselines"]):
        for head in rows:
            table.add_row(*([one_line(head["backbone"])] if several else []), *_cells(head))
        table.add_section()
    Console(highlight=False, width=_WIDTH).print(table)
    approximate = {h["name"]: h["approximation"] for h in results["heads"] if h["approximation"]}
    for name, how in approximate.items():
        click.echo(f"* {name} is approximate: {how}")
    for warning in results["warnings"]:
        click.echo(f"note: {one_line(warning)}")
    data, protocol = results["dataset"], results["protocol"]
    click.echo(
        f"{data['n_images']:,} images, {len(data['classes'])} classes; tuned on "
        f"{protocol['n_train']:,}, scored once on {protocol['n_test']:,} test images "
        f"({data['test_split']})"
    )
    for line in summaries(results):
        click.echo(line)
    backbones = results["backbones"]
    if len(backbones) > 1 and backbones[0]["scores"]:  # a fine-tuned one has none
        _print_scores(backbones)


def _print_scores(backbones: list[dict[str, Any]]) -> None:
    """Print the scores by which a backbone can be chosen before any head is trained."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", overflow="fold")
    names = list(backbones[0]["scores"])
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for backbone in backbones:
        values = [backbone["scores"][name] for name in names]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        table.add_row(one_line(backbone["backbone"]), *cells)
    Console(highlight=False, width=_WIDTH).print(table)


def _cells(head: dict[str, Any]) -> list[str]:
    low, high = head["test_accuracy_ci"]
    p = head["mcnemar_p"]
    return [
        head["name"] + (" *" if head["approximation"] else ""),
        f"{head['test_accuracy']:.1%}",
        f"{100 * low:.1f}–{100 * high:.1f}",
        f"{100 * head['cv_accuracy']:.1f} ± {100 * head['cv_std']:.1f}",
        f"{head['macro_f1']:.3f}",
        f"{head['log_loss']:.3f}",
        f"{head['ece']:.3f}",
        f"{head['seconds']:.1f}",
        head["verdict"] or "–",
        "–" if p is None else f"{p:.3f}",
    ]
