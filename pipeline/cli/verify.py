"""``headstart verify``: check a feature store."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import export, store
from pipeline.certificate import Certificate, check
from pipeline.cli.options import FILE
from pipeline.errors import BackboneError, StoreError, one_line
from pipeline.runner import Runner


@click.command()
@click.argument("path", metavar="STORE", type=FILE)
def command(path: Path) -> None:
    """Check STORE completely and name every defect.

    The probe images of its certificate are embedded again: the features must be those that this
    machine makes.
    """
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
        model = export.locate(origin.backbone, origin.model)
    except BackboneError as error:
        return f"its features were not compared with this machine's: {error}"
    runner = Runner(model)
    held = Certificate.from_json(origin.certificate)
    drift = check(held, runner.embed, runner.backbone.preprocess)
    return f"certificate: this machine makes the same features (cosine {drift.min_cosine:.7f})"
