"""``headstart train-heads``: train and compare heads on feature stores."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from headstart import datasets, report
from headstart.backbones import export
from headstart.cli.leaderboard import print_table
from headstart.cli.options import FILE, STORE, as_json, hooks, map_how, print_json, seed
from headstart.core.choices import IN_MEMORY, SMALL_CLASSES, VALIDATION
from headstart.core.errors import InputError, one_line
from headstart.core.files import make_folder
from headstart.core.records import FeatureSet
from headstart.core.results import Comparison
from headstart.core.rows import take
from headstart.evaluation import compare
from headstart.features import store
from headstart.heads import HEADS, saving
from headstart.models import bundle, novelty
from headstart.report import projection
from headstart.report.validation import read_results

_WRITTEN = (
    *("results.json", "predictions.csv", "label_issues.csv", "duplicates.csv"),
    *("model.onnx", "report.html", "MODEL_CARD.md", "predict_example.py"),
)


@click.command()
@click.argument("stores", metavar="STORE...", type=STORE, nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, help="Folder for the results.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    help="Of stores with several layers, this one only; several may be given.  [default: all]",
)
@click.option("--heads", default=",".join(HEADS), show_default=True, help="Which, with commas.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    help="Repeat the cross-validation with other folds.  [default: 1; more below 200 images]",
)
@click.option(
    "--validation",
    type=click.Choice(VALIDATION),
    default=VALIDATION[0],
    show_default=True,
    help="Choose heads by cross-validation, or on the data's own split named validation.",
)
@click.option("--groups", type=FILE, help="CSV of path,group: images that stay on one side.")
@click.option("--class-weight", type=click.Choice(["none", "balanced"]), default="none")
@click.option(
    "--small-classes",
    type=click.Choice(SMALL_CLASSES),
    default=SMALL_CLASSES[0],
    show_default=True,
    help="For a class with fewer training images than folds: reduce the folds, stop, or drop it.",
)
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    show_default=True,
    help="Look for photos that were saved again, and keep them in one fold.",
)
@click.option(
    "--stream-above",
    type=click.IntRange(min=0),
    default=IN_MEMORY >> 20,
    show_default=True,
    help="MiB: features that would take more memory stay on disk and are read in blocks.",
)
@click.option(
    "--save-head",
    type=click.Choice(saving.KINDS),
    multiple=True,
    help="Write the best head for scikit-learn too; repeatable.",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="For --save-head joblib: a pickle, which runs any code in it when it is loaded.",
)
@map_how
@seed
@click.option("--force", is_flag=True, help="Train again even if the results are up to date.")
@as_json
def command(
    stores: tuple[Path, ...],
    out: Path,
    layers: tuple[str, ...],
    heads: str,
    folds: int,
    repeats: int | None,
    validation: str,
    groups: Path | None,
    class_weight: str,
    small_classes: str,
    near_duplicates: bool,
    stream_above: int,
    save_head: tuple[str, ...],
    allow_pickle: bool,
    how: str | None,
    seed: int,
    force: bool,
    json_: bool,
) -> None:
    """Train and compare heads on the features in STORE.

    With several stores, of the same images by different backbones, or one with several layers,
    every backbone or layer and every head are compared on the images that all stores hold. Writes
    results.json, predictions.csv, label_issues.csv (training images whose label is in doubt),
    duplicates.csv, model.onnx, report.html and plots into the --out folder.
    """
    _check_options(save_head, allow_pickle)
    names = tuple(name.strip() for name in heads.split(",") if name.strip())
    config = compare.CompareConfig(
        heads=names,
        folds=folds,
        seed=seed,
        repeats=repeats,
        validation=validation,
        small_classes=small_classes,
        near_duplicates=near_duplicates,
        class_weight=None if class_weight == "none" else class_weight,
    )
    named_groups = datasets.read_groups(groups) if groups else {}
    data = _read(stores, layers, stream_above << 20)
    held = not force and _held_results(
        out, save_head, compare.inputs_digest(data, config, named_groups)
    )
    if not held:
        _train(stores, data, config, named_groups, out, how or projection.HOW[0], save_head)
    elif how:
        report.write_report(out, data, how)
    results = read_results(out / "results.json")
    if json_:
        print_json(results)
        return
    print_table(results)
    state = "up to date, nothing to do" if held else "written"
    click.echo(f"{one_line(out)}: {', '.join(_WRITTEN)}, {report.PLOTS} {state}")
    click.echo(f"open {one_line(out / 'report.html')}")


def _read(stores: tuple[Path, ...], layers: tuple[str, ...], stream_above: int) -> list[FeatureSet]:
    """Read the stores, each once, and of those with several layers the wanted ones."""
    seen: set[Path] = set()
    for path in stores:
        if path.resolve() in seen:
            raise InputError(f"{one_line(path)} is given twice; give each store once")
        seen.add(path.resolve())
    return [one for path in stores for one in store.read_layers(path, layers, stream_above)]


def _train(
    stores: tuple[Path, ...],
    data: list[FeatureSet],
    config: compare.CompareConfig,
    named_groups: Mapping[str, str],
    out: Path,
    how: str,
    save_head: tuple[str, ...],
) -> None:
    """Compare the heads, then write everything that follows from the comparison."""
    projection.check(how)
    make_folder(out)
    with hooks("training") as told:
        comparison, outcome = compare.compare(data, config, named_groups, told.notice)
    made = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["headstart", *sys.argv[1:]]),
        "stores": [str(path.resolve()) for path in stores],
    }
    comparison = dataclasses.replace(comparison, provenance=comparison.provenance | made)
    # Results first: whatever happens to the page or the model, they are not lost.
    compare.write_results(out, comparison, outcome)
    report.write_report(out, data, how)
    report.write_plots(out)
    click.echo(_write_model(comparison, outcome, out), err=True)
    for kind in save_head:
        saving.save(outcome.best.head.estimator, out, kind)


def _write_model(comparison: Comparison, outcome: compare.Outcome, out: Path) -> str:
    """Write the best head as a model file and what helps to use it; say how well it agrees."""
    result, best, rows = comparison.heads[0], outcome.best, outcome.protocol
    data, train = best.data, rows.train
    summary = {
        "head": {"name": result.name, "params": result.params},
        "test_accuracy": result.test_accuracy,
        "test_accuracy_ci": result.test_accuracy_ci,
        "images": {"train": len(train), "test": len(rows.test)},
        "inputs": comparison.provenance["inputs"],
    }
    agreement = bundle.bundle(
        export.locate(data.extraction["backbone"], data.model, data.weights),
        best.head.estimator,
        data.classes,
        take(data.features, rows.test),
        summary,
        out / "model.onnx",
        novelty.learn(take(data.features, train), data.label[train], rows.group[train]),
        family=result.name,
    )
    bundle.write_companions(out, comparison)
    return f"model.onnx: {agreement}"


def _check_options(kinds: tuple[str, ...], allow_pickle: bool) -> None:
    if saving.UNSAFE in kinds and not allow_pickle:
        raise click.UsageError(
            "a joblib file is a pickle: loading it runs any code in it; add --allow-pickle if all "
            "who load it trust where it comes from, or use --save-head skops"
        )


def _held_results(out: Path, kinds: tuple[str, ...], inputs: str) -> bool:
    """Say whether the folder holds everything that these inputs lead to."""
    saved = [f"head.{kind}" for kind in kinds]
    if not all((out / name).is_file() for name in (*_WRITTEN, *report.PLOT_FILES, *saved)):
        return False
    try:
        held = json.loads((out / "results.json").read_text(encoding="utf-8"))
        return bool(held["provenance"]["inputs"] == inputs)
    except (OSError, ValueError, KeyError, TypeError):
        return False
