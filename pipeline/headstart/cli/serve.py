"""``headstart serve``: a page and a JSON endpoint for a model file."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE, costs, device, target, workers
from headstart.cli.output import hooks
from headstart.core.choices import SETS
from headstart.workflows import models


@click.command(
    cls=Command,
    examples="""
serve results
serve results/model.onnx --host 0.0.0.0 --port 80
""",
)
@click.argument("model", type=FILE, metavar="MODEL|RESULTS_DIR")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=FILE,
    help="Feature store of the training images; repeatable.  [default: those that results.json "
    "beside MODEL names]",
)
@click.option(
    "--nearest",
    type=click.IntRange(0, 50),
    default=6,
    show_default=True,
    help="Number of nearest training images to show; 0 disables it.",
)
@click.option(
    "--max-mb",
    type=click.IntRange(1, 1024),
    default=32,
    show_default=True,
    help="Largest upload in MiB.",
)
@target
@costs
@click.option(
    "--sets-by-class",
    "sets",
    flag_value=SETS[1],
    default="",
    help="The set in answers holds the true class for 95 % of the images of each class, not of all"
    " images.",
)
@workers
@device
def command(
    model: Path,
    host: str,
    port: int,
    stores: tuple[Path, ...],
    nearest: int,
    max_mb: int,
    target: str | None,
    costs: Path | None,
    sets: str,
    workers: int | None,
    device: str,
) -> None:
    """Serve MODEL on this machine: a page to drop images on, and POST /predict for programs.

    The page shows probabilities, the nearest training images and the time. Only this machine can
    reach it unless --host names another address.
    """
    with hooks("serve") as shown:
        models.serve(
            model,
            host=host,
            port=port,
            stores=stores,
            nearest=nearest,
            max_mb=max_mb,
            target=target,
            costs=costs,
            sets=sets,
            workers=workers,
            device=device,
            hooks=shown,
        )
