"""``headstart train-heads``: train and compare heads on feature stores."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli import leaderboard
from headstart.cli.help import Command
from headstart.cli.options import (
    FILE,
    as_json,
    class_weight,
    costs,
    group_answer,
    ignore,
    map_method,
    seed,
    workers,
)
from headstart.cli.output import hooks, print_json
from headstart.core.choices import HEAD_FORMATS, IN_MEMORY, SMALL_CLASSES, VALIDATION
from headstart.core.errors import one_line
from headstart.core.targets import SINGLE_LABEL
from headstart.workflows.artifacts import REPORT, files
from headstart.workflows.heads import head_names, train_heads


def _list_heads(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(",".join(head_names()))
        ctx.exit()


@click.command(
    cls=Command,
    examples="""
train-heads photos.h5 --out results
train-heads a.h5 b.h5 --heads knn,linear-svm --out results
""",
)
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, help="Folder for the results.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    help="Use only this layer of a multi-layer store; repeatable.  [default: all]",
)
@click.option(
    "--heads",
    default="",
    help="Comma-separated list of heads; mean-of-heads adds the mean of the others."
    "  [default: all of --list-heads]",
)
@click.option(
    "--list-heads",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_heads,
    help="Print the names of all heads and exit.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of cross-validation folds.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    help="Repetitions of the cross-validation with other folds.  [default: 1; more for few images]",
)
@click.option(
    "--validation",
    type=click.Choice(VALIDATION),
    default=VALIDATION[0],
    show_default=True,
    help="Basis of model selection: cross-validation, or the data's own split named validation.",
)
@click.option(
    "--holdout/--no-holdout",
    default=None,
    help="Without a test split, hold out 20 % of the images as one, or fit on all and score "
    "out-of-fold answers.  [default: hold out from 1,000 images on]",
)
@click.option(
    "--groups",
    type=FILE,
    metavar="FILE.csv|PATTERN",
    help="CSV of path,group, or a pattern such as '{group}/*' for the end of a path:"
    " images of a group stay on one side of a split, and get one answer"
    " together, which is scored too.",
)
@group_answer
@class_weight
@click.option(
    "--small-classes",
    type=click.Choice(SMALL_CLASSES),
    default=SMALL_CLASSES[0],
    show_default=True,
    help="Treatment of a class with fewer training images than folds: reduce the folds, stop, or "
    "drop the class.",
)
@click.option(
    "--per-label",
    is_flag=True,
    help="With several labels on one image, choose hyper-parameters for each label by itself.",
)
@click.option(
    "--precision-at-least",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Threshold of each label by this precision on out-of-fold scores.  [default: best F1]",
)
@click.option(
    "--recall-at-least",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="R",
    help="Threshold of each label by this recall on out-of-fold scores.  [default: best F1]",
)
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    show_default=True,
    help="Search for photos that were saved again, and keep them in one fold.",
)
@click.option(
    "--stream-above",
    type=click.IntRange(min=0),
    default=IN_MEMORY >> 20,
    show_default=True,
    help="Memory limit in MiB; larger features stay on disk and are read in blocks.",
)
@click.option(
    "--save-head",
    type=click.Choice(HEAD_FORMATS),
    multiple=True,
    help="Additional file of the best head for scikit-learn; repeatable.",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Permission for --save-head joblib: a pickle runs any code in it when it is loaded.",
)
@map_method
@click.option(
    "--targets",
    default="",
    metavar="SHARE,...",
    help="Shares of right answers to choose thresholds for.  [default: 95%,98%,99%]",
)
@costs
@ignore
@seed
@workers
@click.option("--force", is_flag=True, help="Train again even if the results are up to date.")
@as_json
def command(
    stores: tuple[str, ...],
    out: Path,
    layers: tuple[str, ...],
    heads: str,
    folds: int,
    repeats: int | None,
    validation: str,
    holdout: bool | None,
    groups: Path | None,
    group_answer: str,
    class_weight: str,
    small_classes: str,
    per_label: bool,
    precision_at_least: float | None,
    recall_at_least: float | None,
    near_duplicates: bool,
    stream_above: int,
    save_head: tuple[str, ...],
    allow_pickle: bool,
    map_method: str | None,
    targets: str,
    costs: Path | None,
    ignore: tuple[str, ...],
    seed: int,
    workers: int | None,
    force: bool,
    json_: bool,
) -> None:
    """Train and compare heads on the features in STORE.

    With several stores, of the same images by different backbones, or one with several layers,
    every backbone or layer and every head are compared on the images that all stores have. Writes
    results.json, predictions.csv, label_issues.csv (training images with doubtful labels),
    duplicates.csv, model.onnx, report.html and plots into the --out folder.
    """
    if "joblib" in save_head and not allow_pickle:
        raise click.UsageError(
            "a joblib file is a pickle: loading it runs any code in it; add --allow-pickle if all "
            "who load it trust where it comes from, or use --save-head skops"
        )
    with hooks("training") as shown:
        result = train_heads(
            stores,
            out,
            heads=[name.strip() for name in heads.split(",")],
            layers=layers,
            folds=folds,
            repeats=repeats,
            validation=validation,
            holdout=holdout,
            groups=groups,
            group_answer=group_answer,
            class_weight=None if class_weight == "none" else class_weight,
            small_classes=small_classes,
            per_label=per_label,
            precision_at_least=precision_at_least,
            recall_at_least=recall_at_least,
            near_duplicates=near_duplicates,
            stream_above=stream_above << 20,
            map_method=map_method,
            head_formats=save_head,
            targets=targets,
            costs=costs,
            ignore=ignore,
            seed=seed,
            workers=workers,
            force=force,
            hooks=shown,
        )
    if json_:
        print_json(result.results)
        return
    leaderboard.show(result.results)
    target = result.results.get("target", SINGLE_LABEL)
    state = "up to date, nothing to do" if result.up_to_date else "written"
    click.echo(f"{one_line(out)}: {', '.join(files(target))}, plots {state}")
    click.echo(f"the report is {one_line(out / REPORT)}: open it in a browser")
