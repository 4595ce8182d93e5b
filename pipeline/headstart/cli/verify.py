"""``headstart verify``: check a feature store or an ONNX file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from headstart.backbones import export
from headstart.backbones.inference.description import MODEL_METADATA
from headstart.backbones.inference.parity import Certificate, Drift, check, check_metadata
from headstart.backbones.inference.runner import Runner
from headstart.cli.options import PLACE, as_json, print_json
from headstart.core.errors import BackboneError, StoreError, one_line
from headstart.datasets import mirror
from headstart.features import store
from headstart.models import seal


@click.command()
@click.argument("path", metavar="STORE|MODEL.onnx", type=PLACE)
@click.option(
    "--repair", is_flag=True, help="Drop what cannot be trusted; the damaged file is kept beside."
)
@as_json
def command(path: Path | str, repair: bool, json_: bool) -> None:
    """Check a store completely and name every defect, or check a backbone or classifier file.

    The probe images of its certificate are embedded again: the features must be those that this
    machine makes.
    """
    facts: dict[str, Any] = {"path": str(path), "sound": False, "defects": []}
    if repair and isinstance(path, str):
        raise click.UsageError("--repair is for stores here; copy it, repair it, and send it back")
    path = mirror.read_here(path)
    if path.suffix == ".onnx":
        if repair:
            raise click.UsageError("--repair is for stores; write a model again instead")
        _print(facts | _look_at_model(path), json_)
        return
    if repair:
        facts |= _repair(path)
    facts["defects"] = store.verify(path)
    _print(facts if facts["defects"] else facts | _recheck(store.read_origin(path)), json_)
    if facts["defects"]:
        raise StoreError(
            f"{one_line(path)} has {len(facts['defects']):,} defects; save what is good with: "
            "headstart verify --repair"
        )


def _look_at_model(path: Path) -> dict[str, Any]:
    runner = Runner(path)
    if MODEL_METADATA in runner.metadata:
        seal.check(path)
    return _same(check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess))


def _print(facts: dict[str, Any], json_: bool) -> None:
    if json_:
        print_json(facts)
        return
    path = one_line(facts["path"])
    if repaired := facts.get("repaired"):
        for why, count in repaired["dropped"].items():
            click.echo(f"dropped {count:,} rows: {why}")
        for note in repaired["notes"]:
            click.echo(note)
        click.echo(
            f"{repaired['kept']:,} rows are kept; the damaged file is "
            f"{one_line(repaired['backup'])}; embed what is missing with: headstart features"
        )
    for defect in facts["defects"]:
        click.echo(one_line(defect))
    if facts["sound"]:
        click.echo(facts["certificate"])
        click.echo(f"{path}: sound")


def _repair(path: Path) -> dict[str, Any]:
    done = store.repair(path)
    if done.backup is None:
        return {}
    return {"repaired": dataclasses.asdict(done) | {"backup": str(done.backup)}}


def _recheck(origin: store.Origin) -> dict[str, Any]:
    if not origin.certificate:
        note = "it keeps no certificate, so its features were not compared with this machine's"
        return {"sound": True, "certificate": note}
    try:
        model = export.locate(origin.backbone, origin.model, origin.weights)
    except BackboneError as error:
        note = f"its features were not compared with this machine's: {error}"
        return {"sound": True, "certificate": note}
    runner = Runner(model)
    held = Certificate.from_json(origin.certificate)
    return _same(check(held, runner.embed, runner.backbone.preprocess))


def _same(drift: Drift) -> dict[str, Any]:
    told = f"certificate: this machine makes the same features (cosine {drift.min_cosine:.7f})"
    return {"sound": True, "certificate": told, "min_cosine": drift.min_cosine}
