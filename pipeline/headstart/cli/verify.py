"""``headstart verify``: check a feature store or an ONNX file."""

from __future__ import annotations

import click

from headstart.cli.help import Command
from headstart.cli.options import as_json
from headstart.cli.output import print_json
from headstart.core.errors import StoreError, count, one_line
from headstart.workflows.features import Verification, verify


@click.command(
    cls=Command,
    examples="""
verify photos.h5
verify photos.h5 --repair
""",
)
@click.argument("path", metavar="STORE|MODEL.onnx")
@click.option(
    "--repair",
    is_flag=True,
    help="Remove rows that fail verification; the original is kept as FILE.damaged.",
)
@as_json
def command(path: str, repair: bool, json_: bool) -> None:
    """Check every part of a store and list its defects, or check a backbone or classifier file.

    The probe images of its certificate are embedded again: the features must equal those that
    this machine computes.
    """
    state = verify(path, repair=repair)
    if json_:
        print_json(state.to_json())
    else:
        _print(state)
    if not state.sound:
        raise StoreError(
            f"{one_line(path)} has {count(len(state.defects), 'defect')}; {state.remedy}"
        )


def _print(state: Verification) -> None:
    if repaired := state.repaired:
        for reason, rows in repaired["dropped"].items():
            click.echo(f"removed {count(rows, 'row')}: {reason}")
        for note in repaired["notes"]:
            click.echo(note)
        click.echo(
            f"{count(repaired['kept'], 'row')} kept; the original is now "
            f"{one_line(repaired['backup'])}; embed missing images with: headstart features"
        )
    for defect in state.defects:
        click.echo(one_line(defect))
    if state.sound:
        click.echo(state.certificate)
        click.echo(f"{one_line(state.path)}: sound")
