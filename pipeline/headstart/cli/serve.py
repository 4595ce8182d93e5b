"""``headstart serve``: a page and a JSON endpoint for a model file."""

from __future__ import annotations

from pathlib import Path

import click

from headstart import report
from headstart.cli.options import FILE, device, workers
from headstart.core.errors import InputError
from headstart.models.serve import ServeConfig, serve
from headstart.report.tables import read_answers


@click.command()
@click.argument("model", type=FILE)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=FILE,
    help="Where the training images are.  [default: what results.json beside MODEL names]",
)
@click.option(
    "--nearest",
    type=click.IntRange(0, 50),
    default=6,
    show_default=True,
    help="Training images to show; 0 shows none to anybody.",
)
@click.option(
    "--max-mb",
    type=click.IntRange(1, 1024),
    default=32,
    show_default=True,
    help="The largest upload, in MiB.",
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
    workers: int | None,
    device: str,
) -> None:
    """Serve MODEL on this machine: a page to drop an image on, and POST /predict for programs.

    The page shows probabilities, the nearest training images and the time. It listens for this
    machine alone unless --host says otherwise.
    """
    known, tested = _training(model.parent) if nearest else ([], frozenset())
    config = ServeConfig(
        host=host,
        port=port,
        stores=stores or known,
        tested=tested,
        nearest=nearest,
        max_bytes=max_mb << 20,
        workers=workers,
        device=device,
    )
    serve(model, config, _say)


def _training(folder: Path) -> tuple[list[Path], frozenset[str]]:
    """Return the stores that the results beside the model name, and what was only tested on."""
    if not (folder / "results.json").is_file():
        return [], frozenset()
    try:
        answers = read_answers(folder / "predictions.csv") or []
        return report.store_paths(folder), frozenset(answer.path for answer in answers)
    except InputError as error:
        _say(f"without the training images that the results name: {error}")
        return [], frozenset()


def _say(line: str) -> None:
    click.echo(line, err=True)
