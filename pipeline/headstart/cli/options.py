"""Options that several commands share, and how commands talk: progress to stderr, results out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from headstart.core.choices import DEVICES, POOLS, PRESETS
from headstart.core.errors import InputError, one_line
from headstart.core.records import Backbone, Choice
from headstart.datasets import mirror, storage
from headstart.report import projection

if TYPE_CHECKING:
    from headstart.features.embed import Hooks, Sharding

FILE = click.Path(path_type=Path)


class _Place(click.ParamType[str | Path]):
    """A path here, or a URL, which stays a text."""

    name = "path|url"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        text = str(value)
        return text if storage.is_url(text) else Path(text)


class _Store(_Place):
    """A store to read: a path here; of a URL, that of its copy here."""

    name = "store|url"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        return mirror.read_here(super().convert(value, param, ctx))


PLACE = _Place()
STORE = _Store()

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document on stdout.")
device = click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
workers = click.option(
    "--workers", type=click.IntRange(min=1), help="Threads; the default is one per core."
)
map_how = click.option(
    "--map",
    "how",
    type=click.Choice(projection.HOW),
    help="How the report's map is made; umap needs pip install 'headstart[umap]'."
    f"  [default: {projection.HOW[0]}]",
)
seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)


def preprocess(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that says how images are prepared for an ONNX file by others."""
    return click.option(
        "--preprocess",
        default="",
        metavar="PRESET|FILE.json",
        help=f"How images are prepared for onnx:PATH: {', '.join(PRESETS)}, as PRESET:SIZE or "
        "PRESET:BGR too, or a JSON file.",
    )(command)


def backbone_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which weights a named backbone gets and where it is cut."""
    for option in (
        preprocess,
        click.option("--pool", type=click.Choice(POOLS), help="How a layer's output is pooled."),
        click.option(
            "--layer",
            "layers",
            multiple=True,
            help="Where to cut, as listed by: headstart backbones B --layers; several may be given",
        ),
        click.option(
            "--weights",
            default="",
            metavar="FILE|random",
            help="Safetensors file or state dict instead of the published weights; random is for "
            "trials only.",
        ),
    ):
        command = option(command)
    return command


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how far other arithmetic may be from float32's."""
    from headstart.backbones.inference.precision_choice import Budget  # likewise

    for option in (
        click.option(
            "--max-accuracy-loss",
            type=click.FloatRange(0, 100),
            default=Budget.loss,
            show_default=True,
            help="Budget: percentage points of accuracy that may be lost; of equal labels, where a "
            "finished model is measured without any.",
        ),
        click.option(
            "--max-drift",
            type=click.FloatRange(0, 2),
            default=Budget.drift,
            show_default=True,
            help="Budget of other arithmetic: mean of 1 - cosine to the features of fp32.",
        ),
    ):
        command = option(command)
    return command


def choice(
    backbone: str, weights: str, layers: tuple[str, ...], pool: str | None, preprocess: str
) -> Choice:
    """Return what the options of `backbone_options` choose.

    Raises:
        InputError: a layer is given twice.
    """
    for layer in layers:
        if layers.count(layer) > 1:
            raise InputError(f"--layer {one_line(layer)} is given twice; give each layer once")
    if len(layers) > 1:
        return Choice(backbone, weights, "", pool or "", preprocess, layers)
    return Choice(backbone, weights, "".join(layers), pool or "", preprocess)


def sharding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say who fills a store that is a folder."""
    for option in (
        click.option(
            "--threads-per-worker",
            type=click.IntRange(min=1),
            help="Threads in a worker that decode for its one network; 1, or with GPUs 4.",
        ),
        click.option(
            "--gpus-per-worker",
            type=click.FloatRange(min=0),
            default=0,
            help="GPUs that a worker of Ray gets; a part of one lets several share it.",
        ),
        click.option(
            "--shard-size",
            type=click.IntRange(min=1),
            help="Images in one file of the store, about; the default is 4096, less if few.",
        ),
        click.option(
            "--address",
            default="",
            metavar="auto|HOST:PORT|ray://HOST:PORT",
            help="A Ray cluster; without one, RAY_ADDRESS or this machine.",
        ),
        click.option(
            "--engine",
            type=click.Choice(["threads", "ray"]),
            help="Write a folder of files, filled by threads or by workers on Ray.",
        ),
    ):
        command = option(command)
    return command


def sharding(
    out: Path | str,
    engine: str | None,
    address: str,
    shard_size: int | None,
    threads: int | None,
    gpus: float,
) -> Sharding | None:
    """Return what the options of `sharding_options` ask for; None if a store is one file.

    Raises:
        click.UsageError: one of them needs another one.
    """
    from headstart.features.embed import Sharding
    from headstart.features.store.manifest import is_folder

    if engine != "ray" and (address or gpus):
        raise click.UsageError("--address and --gpus-per-worker are for --engine ray")
    if engine is None and (shard_size or threads):
        raise click.UsageError(
            "--shard-size and --threads-per-worker are for --engine threads or ray"
        )
    if isinstance(out, str) and engine is not None:
        raise click.UsageError("with --engine the store is a folder here; give --out a path")
    if engine is None and (isinstance(out, str) or not is_folder(out)):
        return None
    return Sharding(engine or "threads", address, shard_size, threads, gpus)


def warn(backbone: Backbone) -> None:
    """Say on stderr what nobody may overlook about a backbone."""
    if backbone.warning:
        click.echo(f"WARNING: {one_line(backbone.warning)}", err=True)


def console() -> Console:
    """Return a console on stderr that honours NO_COLOR and non-terminals."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


@contextmanager
def hooks(title: str) -> Iterator[Hooks]:
    """Show a stage's notices, and its progress as a bar on a terminal or a line now and then."""
    from headstart.features.embed import Hooks

    out = console()
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )
    lines = _Lines(title)
    with bar:
        task = bar.add_task(title, total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not out.is_terminal:
                lines.update(done, total)

        yield Hooks(notice=lambda line: out.print(line, markup=False), progress=progress)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} images/s" if task.speed else "")


class _Lines:
    """Progress for logs: one line at each tenth of the work."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = 0

    def update(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if tenth > self._shown:
            self._shown = tenth
            click.echo(f"{self._title}: {done:,} of {total:,}", file=sys.stderr)
