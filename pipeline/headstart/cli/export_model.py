"""``headstart export-model``: a finished model in smaller or faster arithmetic."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE, as_json, budget_options, label_options, workers
from headstart.cli.output import print_json
from headstart.core.choices import MODEL_PRECISIONS
from headstart.core.errors import one_line
from headstart.workflows.models import export_model


@click.command(
    cls=Command, examples="export-model results photos --precision int8 --out small.onnx"
)
@click.argument("model", type=FILE, metavar="MODEL|RESULTS_DIR")
@click.argument("data")
@click.option(
    "--precision",
    type=click.Choice(MODEL_PRECISIONS),
    required=True,
    help="Arithmetic of the network; the head stays as it is.",
)
@click.option("--out", type=FILE, required=True, help="Model file to write.")
@label_options
@budget_options
@workers
@as_json
def command(
    model: Path,
    data: str,
    precision: str,
    out: Path,
    label_column: str,
    path_column: str,
    label_columns: str,
    target: str | None,
    max_drift: float,
    max_accuracy_loss: float,
    workers: int | None,
    json_: bool,
) -> None:
    """Write MODEL in half precision or 8-bit integers, if DATA shows that it is as good.

    DATA are labelled images, as for features: the test split measures, the others calibrate int8.
    fp16 is for GPUs, int8 for processors with VNNI.
    """
    change = export_model(
        model,
        data,
        out,
        precision=precision,
        label_column=label_column,
        path_column=path_column,
        label_columns=label_columns,
        target=target or "",
        max_drift=max_drift,
        max_accuracy_loss=max_accuracy_loss,
        workers=workers,
    )
    if json_:
        print_json({"model": str(out)} | dataclasses.asdict(change))
        return
    sizes = " to ".join(f"{path.stat().st_size / 1e6:.1f}" for path in (model, out))
    click.echo(f"{precision}: {change}")
    click.echo(f"{one_line(out)} written, {sizes} MB")
