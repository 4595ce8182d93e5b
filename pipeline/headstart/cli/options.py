"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headstart.core import choices

FILE = click.Path(path_type=Path)

Command = Callable[..., Any]

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document on stdout.")
device = click.option(
    "--device",
    type=click.Choice(choices.DEVICES),
    default="cpu",
    show_default=True,
    help="Device to compute on.",
)
workers = click.option(
    "--workers", type=click.IntRange(min=1), help="Number of threads.  [default: one per core]"
)
map_method = click.option(
    "--map",
    "map_method",
    type=click.Choice(choices.MAPS),
    help=f"Method of the report's map; umap needs the extra [umap].  [default: {choices.MAPS[0]}]",
)
max_failures = click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=choices.MAX_FAILURES,
    show_default=True,
    help="Share of failed images above which the exit code is 1.",
)
seed = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed."
)
target = click.option(
    "--at",
    "target",
    metavar="SHARE",
    help="Share of the answers that should be right, such as 99%: the model's threshold for it"
    " decides, and images below it are labelled unknown.",
)
costs = click.option(
    "--costs",
    type=FILE,
    metavar="FILE.csv",
    help="Table of costs, a row for each true class and a column for each predicted one.",
)
groups = click.option(
    "--groups",
    type=FILE,
    metavar="FILE.csv|PATTERN",
    help="CSV of path,group, or a pattern such as '{group}/*' for the end of a path:"
    " images of a group are not independent.",
)
group_answer = click.option(
    "--group-answer",
    type=click.Choice(choices.GROUP_ANSWERS),
    default=choices.GROUP_ANSWERS[0],
    show_default=True,
    help="One answer for a group: the mean log-probability of its images, or their vote.",
)
ignore = click.option(
    "--ignore",
    multiple=True,
    metavar="CODE",
    help="Code of a remark to leave out, such as HS101 (docs/remarks.md); repeatable.",
)
class_weight = click.option(
    "--class-weight",
    type=click.Choice(["none", "balanced"]),
    default="none",
    show_default=True,
    help="Weight of classes in training; balanced counts every class the same.",
)
weights = click.option(
    "--weights",
    default="",
    metavar="FILE|random",
    help="Safetensors file or state dict in place of the published weights; random is for trials "
    "only.",
)
preprocess = click.option(
    "--preprocess",
    default="",
    metavar="PRESET|FILE.json|auto",
    help=f"Preprocessing for onnx:PATH or --weights FILE: {', '.join(choices.PRESETS)}, also "
    "PRESET:SIZE or PRESET:BGR, a JSON file, or auto: the best on 120 labelled images.",
)


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds several options, in the order of ``--help``."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


backbone_options = options(
    weights,
    click.option(
        "--layer",
        "layers",
        multiple=True,
        help="Layer to cut at, as listed by: headstart backbones NAME --layers; A+B puts two side"
        " by side; repeatable.",
    ),
    click.option("--pool", type=click.Choice(choices.POOLS), help="Pooling of a layer's output."),
    click.option(
        "--quality",
        type=click.Choice(choices.QUALITIES),
        help="best adds a wider view of each image: more accurate, at 2.4 times the inference.",
    ),
    click.option(
        "--fit",
        type=click.Choice(choices.FITS),
        help="Fit of an image into the network's input: its middle; the whole image on a border,"
        " squashed, or at its own proportions.  [default: the network's own]",
    ),
    click.option(
        "--size",
        default="",
        metavar="PIXELS|HxW",
        help="Size of the network's input, such as 288.  [default: the network's own]",
    ),
    click.option(
        "--views",
        "image_views",
        metavar="VIEW+VIEW",
        help="Several views of each image, whose features are averaged: flip adds its mirror image;"
        " crop+whole shows its middle and the whole, crop+flip+whole both. Each view costs an"
        " inference.",
    ),
    preprocess,
)
decoding_options = options(
    click.option(
        "--range",
        "value_range",
        default="",
        metavar="LOW:HIGH|dtype|percentile",
        help="Values that are black and white in all images, for 12-bit, signed or floating-point "
        "samples; percentile measures them on the set.",
    ),
    click.option(
        "--colour",
        type=click.Choice(choices.COLOURS),
        help="Conversion by colour profiles.  [default: profiles are ignored]",
    ),
)
budget_options = options(
    click.option(
        "--max-drift",
        type=click.FloatRange(0, 2),
        default=choices.MAX_DRIFT,
        show_default=True,
        help="Largest allowed mean (1 - cosine) to fp32 features.",
    ),
    click.option(
        "--max-accuracy-loss",
        type=click.FloatRange(0, 100),
        default=choices.MAX_ACCURACY_LOSS,
        show_default=True,
        help="Largest allowed accuracy loss beyond chance, in percentage points (without labels: "
        "share of changed predictions).",
    ),
)
path_column = click.option(
    "--path-column",
    default="",
    metavar="NAME",
    help="Column with the images' paths.  [default: path, file_name, image …]",
)
column_options = options(
    click.option(
        "--label-column",
        default="",
        metavar="NAME",
        help="Column with the labels, in a CSV, a table or HDF5; in a WebDataset a field of "
        "KEY.json or an extension.  [default: label, class, category …]",
    ),
    path_column,
)
label_options = options(
    column_options,
    click.option(
        "--label-columns",
        default="",
        metavar="A,B,…",
        help="Columns of 0 and 1, one for each label, if an image may have several.",
    ),
    click.option(
        "--target",
        type=click.Choice(choices.TARGETS),
        help="One class an image, or several labels.  [default: what DATA looks like]",
    ),
)
source_options = options(
    label_options,
    click.option("--no-labels", is_flag=True, help="Embed the images without labels."),
)
address = click.option(
    "--address",
    default="",
    metavar="auto|HOST:PORT|ray://HOST:PORT",
    help="Ray cluster.  [default: RAY_ADDRESS, or this machine]",
)
sharding_options = options(
    click.option(
        "--engine",
        type=click.Choice(choices.ENGINES),
        help="Write a folder of files, filled by threads or by workers on Ray.",
    ),
    address,
    click.option(
        "--shard-size",
        type=click.IntRange(min=1),
        help="Approximate number of images in one file of the folder.  [default: 4096, less if "
        "there are few]",
    ),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(min=0),
        default=0,
        help="GPUs of each Ray worker; with a fraction, several workers share one.",
    ),
    click.option(
        "--threads-per-worker",
        type=click.IntRange(min=1),
        help="Decoding threads of each worker.  [default: 1, with GPUs 4]",
    ),
)
