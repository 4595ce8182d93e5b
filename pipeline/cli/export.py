"""``headstart export``: write a backbone as one ONNX file."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from pipeline import export
from pipeline.cli.options import FILE
from pipeline.files import replacing


@click.command()
@click.argument("backbone")
@click.option("--out", type=FILE, required=True, help="The ONNX file to write.")
def command(backbone: str, out: Path) -> None:
    """Export BACKBONE, checked against torch, to an ONNX file that describes itself."""
    model, parity = export.model_file(backbone)
    with replacing(out) as partial:
        shutil.copyfile(model, partial)
    click.echo(f"{out}: {parity or export.read_parity(model)}")
