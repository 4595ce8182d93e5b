"""``headstart evaluate``: score a finished model on labelled images."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.evaluation_table import show_failed
from headstart.cli.help import Command
from headstart.cli.options import (
    FILE,
    as_json,
    costs,
    device,
    group_answer,
    groups,
    ignore,
    label_options,
    max_failures,
    seed,
    workers,
)
from headstart.cli.output import hooks, print_json
from headstart.core import targets
from headstart.core.choices import SCORED
from headstart.core.errors import one_line
from headstart.workflows.evaluation import evaluate

FAILED = 3  # exit code of a model that does not meet a condition


@click.command(
    cls=Command,
    examples="""
evaluate results photos/new
evaluate new.onnx photos/new --against old.onnx --fail-worse
evaluate out/predictions.csv --report page.html
""",
)
@click.argument("model", type=FILE, metavar="MODEL|RESULTS_DIR|PREDICTIONS")
@click.argument("data", required=False)
@click.option(
    "--against", type=FILE, help="Model or predictions to compare with, such as those in use."
)
@click.option(
    "--split",
    type=click.Choice(SCORED),
    default=SCORED[0],
    show_default=True,
    help="Images to score; auto takes the split named test if there is one, else all.",
)
@groups
@group_answer
@click.option(
    "--fail-below",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Condition on accuracy, balanced_accuracy, macro_f1, roc_auc, group_accuracy, "
    "recall:CLASS or precision:CLASS, of several labels on map, macro_auc, macro_f1, micro_f1, "
    "subset_accuracy, "
    "ap:LABEL, auc:LABEL, f1:LABEL, recall:LABEL or precision:LABEL; exit code 3 if the lower end "
    "of its interval is below VALUE; repeatable.",
)
@click.option(
    "--fail-worse",
    is_flag=True,
    help="Exit code 3 if MODEL is worse than --against by more than chance.",
)
@costs
@click.option("--report", type=FILE, metavar="PAGE.html", help="Page to write.")
@max_failures
@label_options
@ignore
@seed
@workers
@device
@as_json
def command(
    model: Path,
    data: str | None,
    against: Path | None,
    split: str,
    groups: Path | None,
    group_answer: str,
    fail_below: tuple[str, ...],
    fail_worse: bool,
    report: Path | None,
    costs: Path | None,
    max_failures: float,
    label_column: str,
    path_column: str,
    label_columns: str,
    target: str | None,
    ignore: tuple[str, ...],
    seed: int,
    workers: int | None,
    device: str,
    json_: bool,
) -> None:
    """Score a finished model on labelled images, with intervals, and compare it with another one.

    DATA is any source that features takes. PREDICTIONS is a .csv or .jsonl that predict --out
    wrote, or the predictions.csv of train-heads; DATA may then be left out if a column holds the
    true labels. The command warns of images that the model was trained on. A model for several
    labels takes images with several labels, as features does.
    """
    with hooks("evaluate") as shown:
        evaluation = evaluate(
            model,
            data,
            against=against,
            split=split,
            groups=groups,
            group_answer=group_answer,
            fail_below=fail_below,
            fail_worse=fail_worse,
            report=report,
            costs=costs,
            max_failures=max_failures,
            label_column=label_column,
            path_column=path_column,
            label_columns=label_columns,
            target=target or "",
            workers=workers,
            device=device,
            ignore=ignore,
            seed=seed,
            hooks=shown,
        )
    if json_:
        print_json(evaluation.to_json())
    else:
        targets.by_name(evaluation.TARGET).part("assessment table").show(evaluation)
        if report is not None:
            click.echo(f"the report is {one_line(report)}: open it in a browser")
    show_failed(evaluation)
    if not evaluation.passed:
        click.get_current_context().exit(FAILED)
