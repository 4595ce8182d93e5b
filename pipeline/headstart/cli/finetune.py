"""``headstart finetune``: train a backbone further on the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headstart.cli import advice_table, leaderboard
from headstart.cli.help import Command
from headstart.cli.options import (
    FILE,
    as_json,
    class_weight,
    decoding_options,
    group_answer,
    groups,
    ignore,
    label_options,
    seed,
    weights,
    workers,
)
from headstart.cli.output import hooks, print_json
from headstart.core.choices import BACKBONE, GROUP_ANSWERS, MODES, TRAINING_DEVICES
from headstart.core.errors import InputError, one_line
from headstart.workflows import finetuning

_WRITTEN = "backbone.onnx, backbone.safetensors, model.onnx, history.json, curves.svg, results.json"


@click.command(
    cls=Command,
    examples="""
finetune photos --advise
finetune photos --backbone timm:resnet50.a1_in1k --out tuned
""",
)
@click.argument("data")
@click.option("--backbone", default=BACKBONE, show_default=True, help="Name of the backbone.")
@weights
@label_options
@decoding_options
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default=finetuning.TOP,
    show_default=True,
    help="Part of the network to train.",
)
@click.option(
    "--from",
    "boundary",
    default="",
    metavar="LAYER",
    help="Last frozen layer of --mode top, as listed by: headstart backbones NAME --layers.  "
    "[default: the input of the last stage]",
)
@click.option("--out", type=FILE, help="Folder for the results.  [required without --advise]")
@click.option(
    "--advise",
    is_flag=True,
    help="Predict gain, time and risk of every mode, and train nothing.",
)
@click.option(
    "--views",
    type=click.IntRange(min=1),
    help="Cached views of each training image; the first is not augmented.  [default: two for "
    "three epochs, 8 at most]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Maximum number of epochs.  [default: 12; head 30; top 6 to 12, fewer for more images]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Images in one step.",
)
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate of the base."
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Epochs without a better validation result before training stops.",
)
@class_weight
@click.option(
    "--device",
    type=click.Choice(TRAINING_DEVICES),
    default="cpu",
    show_default=True,
    help="Device to train on.",
)
@groups
@group_answer
@ignore
@workers
@seed
@as_json
def command(
    data: str,
    backbone: str,
    weights: str,
    label_column: str,
    path_column: str,
    label_columns: str,
    target: str | None,
    value_range: str,
    colour: str | None,
    mode: str,
    boundary: str,
    out: Path | None,
    advise: bool,
    views: int | None,
    epochs: int | None,
    batch_size: int,
    lr: float | None,
    patience: int,
    class_weight: str,
    device: str,
    groups: Path | None,
    group_answer: str,
    ignore: tuple[str, ...],
    workers: int | None,
    seed: int,
    json_: bool,
) -> None:
    """Fine-tune a backbone on the training images of DATA.

    Mode head trains a new classifier on the frozen base, top also trains the layers behind a
    boundary, and all trains the whole network. Run the same command to resume after an interrupt.
    --advise predicts which mode is worth its time.
    """
    settings: dict[str, Any] = {
        "backbone": backbone,
        "weights": weights,
        "label_column": label_column,
        "path_column": path_column,
        "label_columns": label_columns,
        "target": target or "",
        "value_range": value_range,
        "colour": colour or "",
        "boundary": boundary,
        "views": views,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "patience": patience,
        "class_weight": None if class_weight == "none" else class_weight,
        "device": device,
        "workers": workers,
        "seed": seed,
        "groups": groups,
    }
    if advise:
        if group_answer != GROUP_ANSWERS[0]:
            raise click.UsageError("--advise predicts the accuracy of images; omit --group-answer")
        if ignore:
            raise click.UsageError("--advise has no remarks; omit --ignore")
        _advise(data, out, mode, json_, settings)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    with hooks("fine-tuning") as shown:
        result = finetuning.finetune(
            data,
            out,
            mode=mode,
            group_answer=group_answer,
            ignore=ignore,
            hooks=shown,
            **settings,
        )
    if json_:
        print_json(result.results | {"finetune": result.history})
        return
    leaderboard.show(result.results)
    click.echo(f"{one_line(out)}: {_WRITTEN}, report.html written")


def _advise(data: str, out: Path | None, mode: str, json_: bool, settings: dict[str, Any]) -> None:
    if mode != finetuning.TOP:
        raise InputError("--advise compares all modes; omit --mode")
    with hooks("advice") as shown:
        advice = finetuning.advise_finetuning(data, out=out, hooks=shown, **settings)
    if json_:
        print_json(advice)
    else:
        advice_table.show(advice)
