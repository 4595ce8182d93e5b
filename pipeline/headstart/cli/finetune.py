"""``headstart finetune``: train a backbone further on the images, and set it beside the frozen."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from headstart import backbones, report
from headstart.cli.advice_table import print_advice
from headstart.cli.leaderboard import print_table
from headstart.cli.options import FILE, as_json, hooks, print_json, seed, workers
from headstart.core.choices import MODES, TRAINING_DEVICES
from headstart.core.errors import InputError, one_line
from headstart.core.files import make_folder
from headstart.core.records import Choice, FeatureSet
from headstart.evaluation import compare
from headstart.evaluation.compare.finetuned import compare_tuned
from headstart.evaluation.splits.config import PREDEFINED
from headstart.features import store
from headstart.features.embed import EmbedConfig, Hooks, embed
from headstart.finetune import (
    FinetuneConfig,
    FinetuneResult,
    advise,
    check_trainable,
    finetune,
)
from headstart.finetune.config import TOP
from headstart.finetune.stage import FEATURES
from headstart.heads.linear import estimator_of
from headstart.models import bundle
from headstart.report.validation import read_results

_WRITTEN = "backbone.onnx, backbone.safetensors, model.onnx, history.json, curves.svg, results.json"


@click.command()
@click.argument("data")
@click.option("--backbone", default=backbones.DEFAULT, show_default=True, help="Name.")
@click.option("--weights", default="", metavar="FILE|random", help="As for: headstart features.")
@click.option("--mode", type=click.Choice(MODES), default="top", show_default=True)
@click.option(
    "--from",
    "boundary",
    default="",
    metavar="LAYER",
    help="The last frozen layer of --mode top, as listed by: headstart backbones B --layers.  "
    "[default: what the last stage takes]",
)
@click.option("--out", type=FILE, help="Folder for the results.  [required without --advise]")
@click.option(
    "--advise",
    "advise_",
    is_flag=True,
    help="Train nothing; predict gain, time and risk of every mode.",
)
@click.option(
    "--views",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Views of every training image that are cached; the first is the plain one.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="At most.  [default: 12; head 30]")
@click.option("--batch-size", "batch", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Peak rate of the base.")
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Epochs without a better validation before it stops.",
)
@click.option("--class-weight", type=click.Choice(["none", "balanced"]), default="none")
@click.option("--device", type=click.Choice(TRAINING_DEVICES), default="cpu", show_default=True)
@workers
@seed
@as_json
def command(
    data: str,
    backbone: str,
    weights: str,
    out: Path | None,
    advise_: bool,
    class_weight: str,
    json_: bool,
    **given: object,
) -> None:
    """Fine-tune a backbone on the training images of DATA.

    head trains a new classifier on the frozen base, top the layers behind a boundary as well, all
    everything. The same command continues after an interrupt. With --advise, predicts which mode is
    worth its time.
    """
    weight = None if class_weight == "none" else class_weight
    config = FinetuneConfig(class_weight=weight, **given)  # type: ignore[arg-type]
    choice = Choice(backbone, weights)
    check_trainable(choice, config)
    if advise_:
        print_advice(_advice(data, choice, out, config), json_)
    elif out is None:
        raise click.UsageError("Missing option '--out'.")
    else:
        _fine_tune(data, choice, out, config, json_)


def _fine_tune(data: str, choice: Choice, out: Path, config: FinetuneConfig, json_: bool) -> None:
    """Train, compare, print."""
    make_folder(out)
    with hooks("fine-tuning") as told:
        frozen = _embedded(data, choice, out / "frozen.h5", config, told)
        tuned = finetune(data, frozen, choice, out, config, told)
        _compare(data, frozen, tuned, out, config, told)
    results = read_results(out / "results.json")
    if json_:
        print_json(results | {"finetune": tuned.history})
        return
    print_table(results)
    click.echo(f"{one_line(out)}: {_WRITTEN}, report.html written")


def _advice(data: str, choice: Choice, out: Path | None, config: FinetuneConfig) -> dict[str, Any]:
    """Advise; without a folder that keeps them, features are computed for this once."""
    if config.mode != TOP:
        raise InputError("--advise compares all modes; omit --mode")
    with ExitStack() as stack:
        told = stack.enter_context(hooks("advice"))
        folder = out or Path(stack.enter_context(TemporaryDirectory(prefix="headstart-advice-")))
        make_folder(folder)
        frozen = _embedded(data, choice, folder / "frozen.h5", config, told)
        return advise(data, frozen, choice, config, told)


def _embedded(
    data: str, choice: Choice, path: Path, config: FinetuneConfig, told: Hooks
) -> FeatureSet:
    embed(data, path, EmbedConfig(choice, workers=config.workers), told)
    return store.read(path)


def _compare(
    data: str,
    frozen: FeatureSet,
    tuned: FinetuneResult,
    out: Path,
    config: FinetuneConfig,
    told: Hooks,
) -> None:
    """Write the classifier, then everything that the comparison with the frozen heads says."""
    choice = Choice(str(tuned.backbone))
    features = _embedded(data, choice, out / FEATURES, config, told)
    named = tuned.division.named(frozen), tuned.division.named(features)
    estimator = estimator_of(tuned.weight, tuned.bias, tuned.division.classes)
    history = tuned.history
    held = tuned.division.validation
    right = estimator.predict(features.features[held]) == features.label[held]
    facts = {key: history[key] for key in ("mode", "boundary", "best")}
    rules = compare.CompareConfig(seed=config.seed, validation=PREDEFINED)
    comparison, outcome = compare_tuned(
        *named,
        estimator,
        float(right.mean()),
        facts,
        sum(one["seconds"] for one in history["epochs"]),
        rules,
        told.notice,
    )
    made = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["headstart", *sys.argv[1:]]),
        "stores": [str((out / name).resolve()) for name in ("frozen.h5", FEATURES)],
    }
    comparison = dataclasses.replace(
        comparison,
        provenance=comparison.provenance | made,
        warnings=list(dict.fromkeys([*comparison.warnings, *history["remarks"]])),
    )
    compare.write_results(out, comparison, outcome)
    report.write_report(out, named)
    report.write_plots(out)
    result = next(head for head in comparison.heads if head.name == "fine-tuned")
    summary = {
        "head": {"name": result.name, "params": facts},
        "test_accuracy": result.test_accuracy,
        "test_accuracy_ci": result.test_accuracy_ci,
    }
    agreement = bundle.bundle(
        tuned.backbone,
        estimator,
        features.classes,
        features.features[tuned.division.test],
        summary,
        out / "model.onnx",
    )
    told.notice(f"model.onnx: {agreement}")
