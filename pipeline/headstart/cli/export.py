"""``headstart export``: write a backbone as one ONNX file."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from headstart.backbones import export
from headstart.backbones.inference.description import describe
from headstart.cli.options import FILE, backbone_options, choice, warn
from headstart.core.files import replacing


@click.command()
@click.argument("backbone")
@backbone_options
@click.option("--out", type=FILE, required=True, help="The ONNX file to write.")
def command(
    backbone: str,
    weights: str,
    layers: tuple[str, ...],
    pool: str | None,
    preprocess: str,
    out: Path,
) -> None:
    """Export BACKBONE, checked against its original, to an ONNX file that describes itself."""
    model, parity = export.model_file(choice(backbone, weights, layers, pool, preprocess))
    with replacing(out) as partial:
        shutil.copyfile(model, partial)
    warn(describe(out))
    click.echo(f"{out}: {parity or export.read_parity(model)}")
