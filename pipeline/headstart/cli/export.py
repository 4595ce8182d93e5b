"""``headstart export``: write a backbone as one ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from headstart.cli.help import Command
from headstart.cli.options import FILE, backbone_options
from headstart.cli.output import hooks
from headstart.workflows.backbones import export_backbone


@click.command(
    cls=Command,
    examples="""
export efficientnet-lite0 --out backbone.onnx
export onnx:network.onnx --preprocess imagenet --out backbone.onnx
""",
)
@click.argument("backbone")
@backbone_options
@click.option("--out", type=FILE, required=True, help="ONNX file to write.")
def command(
    backbone: str,
    weights: str,
    layers: tuple[str, ...],
    pool: str | None,
    quality: str | None,
    fit: str | None,
    size: str,
    image_views: str | None,
    preprocess: str,
    out: Path,
) -> None:
    """Export BACKBONE to an ONNX file with its preprocessing, checked against the original."""
    with hooks("export") as shown:
        parity = export_backbone(
            backbone,
            out,
            weights=weights,
            layers=layers,
            pool=pool or "",
            quality=quality or "",
            fit=fit or "",
            size=size,
            views=image_views or "",
            preprocess=preprocess,
            hooks=shown,
        )
    click.echo(f"{out}: {parity}")
