"""``headstart verify``: check a feature store or an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import export, store
from pipeline.certificate import Certificate, Drift, check, check_metadata
from pipeline.cli.options import FILE
from pipeline.errors import BackboneError, StoreError, one_line
from pipeline.runner import Runner


@click.command()
@click.argument("path", metavar="STORE|MODEL.onnx", type=FILE)
def command(path: Path) -> None:
    """Check a store completely and name every defect, or check a backbone or classifier file.

    The probe images of its certificate are embedded again: the features must be those that this
    machine makes.
    """
    if path.suffix == ".onnx":
        runner = Runner(path)
        drift = check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
        click.echo(_same(drift))
        click.echo(f"{one_line(path)}: sound")
        return
    defects = store.verify(path)
    for defect in defects:
        click.echo(one_line(defect))
    if defects:
        raise StoreError(f"{one_line(path)} has {len(defects):,} defects; embed the images again")
    click.echo(_recheck(store.read_origin(path)))
    click.echo(f"{one_line(path)}: sound")


def _recheck(origin: store.Origin) -> str:
    if not origin.certificate:
        return "it keeps no certificate, so its features were not compared with this machine's"
    try:
        model = export.locate(origin.backbone, origin.model, origin.weights)
    except BackboneError as error:
        return f"its features were not compared with this machine's: {error}"
    runner = Runner(model)
    held = Certificate.from_json(origin.certificate)
    drift = check(held, runner.embed, runner.backbone.preprocess)
    return _same(drift)


def _same(drift: Drift) -> str:
    return f"certificate: this machine makes the same features (cosine {drift.min_cosine:.7f})"
