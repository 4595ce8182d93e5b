"""``headstart drift``: compare a batch of images with those that a model was trained on."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli import drift_table
from headstart.cli.console import notice
from headstart.cli.help import Command
from headstart.cli.options import (
    FILE,
    as_json,
    device,
    groups,
    ignore,
    max_failures,
    path_column,
    workers,
)
from headstart.cli.output import hooks, print_json
from headstart.core.errors import one_line
from headstart.workflows.drift import drift

FAILED = 3  # exit code of a batch that differs


@click.command(
    cls=Command,
    examples="""
drift results photos/today
drift model.onnx photos/today --report drift.html --fail-on-drift
""",
)
@click.argument("model", type=FILE, metavar="MODEL|RESULTS_DIR")
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True)
@groups
@click.option(
    "--fail-on-drift", is_flag=True, help="Exit code 3 if the images differ from the training's."
)
@click.option("--report", type=FILE, metavar="PAGE.html", help="Page to write.")
@max_failures
@path_column
@ignore
@workers
@device
@as_json
def command(
    model: Path,
    images: tuple[str, ...],
    groups: Path | None,
    fail_on_drift: bool,
    report: Path | None,
    max_failures: float,
    path_column: str,
    ignore: tuple[str, ...],
    workers: int | None,
    device: str,
    json_: bool,
) -> None:
    """Compare images with those that a model was trained on; no labels are needed.

    IMAGES are whatever predict takes. Tests of unlike images, distances, features, confidence and
    classes are adjusted together, so a batch like the training images is said to differ in at most
    one of twenty cases.
    """
    with hooks("drift") as shown:
        result = drift(
            model,
            images,
            groups=groups,
            fail_on_drift=fail_on_drift,
            report=report,
            max_failures=max_failures,
            path_column=path_column,
            workers=workers,
            device=device,
            ignore=ignore,
            hooks=shown,
        )
    if json_:
        print_json(result.to_json())
    else:
        for line in drift_table.lines(result):
            click.echo(line)
        if report is not None:
            click.echo(f"the report is {one_line(report)}: open it in a browser")
    for gate in result.gates:
        if not gate.passed:
            notice(f"WARNING: {gate.text}")
    if not result.passed:
        click.get_current_context().exit(FAILED)
