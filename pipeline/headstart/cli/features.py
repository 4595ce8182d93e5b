"""``headstart features``: embed a source of images into a feature store."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from headstart.cli.help import Command
from headstart.cli.options import (
    as_json,
    backbone_options,
    budget_options,
    decoding_options,
    device,
    sharding_options,
    source_options,
    workers,
)
from headstart.cli.output import hooks, print_json
from headstart.core.choices import BACKBONE, MAX_FAILURES, PRECISIONS
from headstart.core.errors import count, one_line
from headstart.workflows.features import extract_features

if TYPE_CHECKING:
    from headstart.features.embed import EmbedSummary

_BOTTLENECKS = {"read": "reading", "decode": "decoding", "infer": "inference", "write": "writing"}
_SHOWN = 5  # failures named on the terminal; the store has them all


@click.command(
    cls=Command,
    examples="""
features photos --out photos.h5
features photos.csv --backbone timm:resnet50.a1_in1k --out p.h5
features /share/photos --engine ray --address auto --out /share/s
""",
)
@click.argument("data")
@source_options
@click.option(
    "--backbone",
    default=BACKBONE,
    show_default=True,
    help="Name or file of a network; A+B puts several side by side.",
)
@backbone_options
@click.option(
    "--out",
    required=True,
    help="Feature store: an HDF5 file, here or behind a URL; with --engine a folder.",
)
@workers
@click.option(
    "--on-error",
    type=click.Choice(["skip", "fail"]),
    default="skip",
    show_default=True,
    help="Treatment of images that cannot be used: record them in the store, or stop.",
)
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=MAX_FAILURES,
    show_default=True,
    help="Share of failed images above which the exit code is 1; all good images are saved.",
)
@click.option("--rehash", is_flag=True, help="Read unchanged files again as well.")
@click.option(
    "--replace",
    is_flag=True,
    help="Drop the rows of images that are not in DATA, even if they are half of them or more.",
)
@device
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Arithmetic of the network: fp16 is for GPUs; int8 is calibrated on your images; auto "
    "chooses the fastest within the limits below.",
)
@budget_options
@decoding_options
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images in one inference.  [default: 4 on a CPU, 64 on a GPU]",
)
@sharding_options
@as_json
def command(
    data: str,
    label_column: str,
    path_column: str,
    label_columns: str,
    target: str | None,
    no_labels: bool,
    backbone: str,
    weights: str,
    layers: tuple[str, ...],
    pool: str | None,
    quality: str | None,
    fit: str | None,
    size: str,
    image_views: str | None,
    preprocess: str,
    value_range: str,
    colour: str | None,
    out: str,
    workers: int | None,
    on_error: str,
    max_failures: float,
    rehash: bool,
    replace: bool,
    device: str,
    precision: str,
    max_drift: float,
    max_accuracy_loss: float,
    batch_size: int | None,
    engine: str | None,
    address: str,
    shard_size: int | None,
    gpus_per_worker: float,
    threads_per_worker: int | None,
    json_: bool,
) -> None:
    """Embed the images in DATA.

    DATA is a folder of images; a CSV manifest; archives (.zip, .tar, WebDataset shards), tables
    (.parquet, saved Hugging Face data sets) or an HDF5 file of images, one or a folder of them or a
    pattern; the URL of any of these (s3://, gs://, hf://); or torchvision:NAME.

    Runs are incremental: images already in the store are skipped. With --engine the store is a
    folder of files that several workers fill: threads here, or processes on a Ray cluster.
    """
    with hooks("embedding") as shown:
        summary = extract_features(
            data,
            out,
            backbone=backbone,
            weights=weights,
            layers=layers,
            pool=pool or "",
            quality=quality or "",
            fit=fit or "",
            size=size,
            views=image_views or "",
            preprocess=preprocess,
            value_range=value_range,
            colour=colour or "",
            precision=precision,
            max_drift=max_drift,
            max_accuracy_loss=max_accuracy_loss,
            device=device,
            workers=workers,
            batch_size=batch_size,
            on_error=on_error,
            max_failures=max_failures,
            rehash=rehash,
            replace=replace,
            labels=not no_labels,
            label_column=label_column,
            path_column=path_column,
            label_columns=label_columns,
            target=target or "",
            engine=engine,
            address=address,
            shard_size=shard_size,
            gpus_per_worker=gpus_per_worker,
            threads_per_worker=threads_per_worker,
            hooks=shown,
        )
    if json_:
        facts = dataclasses.asdict(summary) | {"store": out}
        speed = round(summary.images_per_second, 1)
        print_json(facts | {"images_per_second": speed, "limit": summary.limit})
    else:
        _print(summary, out)


def _print(summary: EmbedSummary, store: str) -> None:
    if summary.embedded:
        click.echo(
            f"embedded {count(summary.embedded, 'image')} in {summary.seconds:.1f} s: "
            f"{summary.images_per_second:.0f} images/s "
            f"({summary.provider} on {summary.device}, "
            f"{count(summary.workers, 'worker' if summary.shards else 'thread')})"
        )
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in summary.shares.items())
        click.echo(f"time spent: {shares}; bottleneck: {_BOTTLENECKS[summary.limit]}")
    failures = sum(summary.failures.values())
    if summary.failed:
        click.echo(f"{count(failures, 'image')} failed:")
        for reason, number in summary.failures.items():
            click.echo(f"  {number:,} × {reason}")
        for path, reason in summary.failed[:_SHOWN]:
            click.echo(f"    {one_line(path)}: {reason}")
        if failures > _SHOWN:
            click.echo("    … the store's group failures lists all of them")
    for line in summary.remark_lines:
        click.echo(line)
    if summary.lost:
        click.echo(f"{count(summary.lost, 'worker')} died; the work was done again by others")
    if summary.dropped:
        click.echo(f"{summary.dropped:,} rows of images that are not in the source were dropped")
    state = "written" if summary.changed else "up to date, nothing to do"
    files = f" in {count(summary.shards, 'file')}" if summary.shards else ""
    click.echo(f"{one_line(store)}: {count(summary.rows, 'row')}{files}, {state}")
