"""``headstart train-heads``: train and compare heads on a feature store."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from pipeline import bundle, compare, export, report, store
from pipeline.cli.options import FILE, as_json, hooks, print_json, seed
from pipeline.embed import Hooks
from pipeline.errors import one_line
from pipeline.files import make_folder
from pipeline.heads import HEADS
from pipeline.records import FeatureSet

_WIDTH = 110  # of the table, wherever it is printed
_WRITTEN = ("results.json", "predictions.csv", "model.onnx", "report.html")


@click.command()
@click.argument("path", metavar="STORE", type=FILE)
@click.option("--out", type=FILE, required=True, help="Folder for the results.")
@click.option("--heads", default=",".join(HEADS), show_default=True, help="Which, with commas.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True)
@seed
@click.option("--force", is_flag=True, help="Train again even if the results are up to date.")
@as_json
def command(
    path: Path, out: Path, heads: str, folds: int, seed: int, force: bool, json_: bool
) -> None:
    """Train and compare heads on the features in STORE.

    Writes results.json, predictions.csv, model.onnx and report.html into the --out folder.
    """
    names = tuple(name.strip() for name in heads.split(",") if name.strip())
    config = compare.CompareConfig(heads=names, folds=folds, seed=seed)
    data = store.read(path)
    held = not force and _held_results(out, compare.inputs_digest(data, config))
    if not held:
        make_folder(out)
        with hooks("training") as told:
            _train(data, config, out, told)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    if json_:
        print_json(results)
        return
    _print_table(results)
    state = "up to date, nothing to do" if held else "written"
    click.echo(f"{one_line(out)}: {', '.join(_WRITTEN)} {state}")
    click.echo(f"open {one_line(out / 'report.html')}")


def _train(data: FeatureSet, config: compare.CompareConfig, out: Path, told: Hooks) -> None:
    """Compare the heads, then write everything that follows from the comparison."""
    comparison, outcome = compare.compare(data, config, told.notice)
    made = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["headstart", *sys.argv[1:]]),
    }
    comparison = dataclasses.replace(comparison, provenance=comparison.provenance | made)
    # Results first: whatever happens to the page or the model, they are not lost.
    compare.write_results(out, comparison, outcome, data)
    report.write_report(out)
    best = comparison.heads[0]
    summary = {
        "head": {"name": best.name, "params": best.params},
        "test_accuracy": best.test_accuracy,
        "test_accuracy_ci": best.test_accuracy_ci,
        "inputs": comparison.provenance["inputs"],
    }
    agreement = bundle.bundle(
        export.locate(data.extraction["backbone"], data.model, data.weights),
        outcome.heads[best.name].estimator,
        data.classes,
        data.features[outcome.test],
        summary,
        out / "model.onnx",
    )
    told.notice(f"model.onnx: {agreement}")


def _held_results(out: Path, inputs: str) -> bool:
    """Say whether the folder holds everything that these inputs lead to."""
    if not all((out / name).is_file() for name in _WRITTEN):
        return False
    try:
        held = json.loads((out / "results.json").read_text(encoding="utf-8"))
        return bool(held["provenance"]["inputs"] == inputs)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _print_table(results: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("head", no_wrap=True)
    for title in ("test", "95 % interval", "CV accuracy", "macro F1", "log loss", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for head in results["heads"]:
        _add_row(table, head)
    table.add_section()
    for head in results["baselines"]:
        _add_row(table, head)
    Console(highlight=False, width=_WIDTH).print(table)
    for warning in results["warnings"]:
        click.echo(f"note: {one_line(warning)}")
    data, protocol = results["dataset"], results["protocol"]
    click.echo(
        f"{data['n_images']:,} images, {len(data['classes'])} classes; tuned on "
        f"{protocol['n_train']:,}, scored once on {protocol['n_test']:,} test images "
        f"({data['test_split']})"
    )


def _add_row(table: Table, head: dict[str, Any]) -> None:
    low, high = head["test_accuracy_ci"]
    table.add_row(
        head["name"],
        f"{head['test_accuracy']:.1%}",
        f"{100 * low:.1f}–{100 * high:.1f}",
        f"{100 * head['cv_accuracy']:.1f} ± {100 * head['cv_std']:.1f}",
        f"{head['macro_f1']:.3f}",
        f"{head['log_loss']:.3f}",
        f"{head['seconds']:.1f}",
        head["verdict"] or "–",
    )
