"""``headstart features``: embed a source of images into a feature store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from headstart import backbones
from headstart.backbones.inference.precision_choice import Budget
from headstart.cli.options import (
    PLACE,
    as_json,
    backbone_options,
    budget_options,
    choice,
    device,
    hooks,
    print_json,
    sharding,
    sharding_options,
    workers,
)
from headstart.core.choices import PRECISIONS
from headstart.core.errors import one_line
from headstart.datasets import mirror
from headstart.features.embed import EmbedConfig, EmbedSummary, embed

_LIMITS = {
    "read": "reading the files",
    "decode": "decoding the images",
    "infer": "inference",
    "write": "writing the features",
}
_SHOWN = 5  # failures named on the terminal; the store has them all


@click.command()
@click.argument("data")
@click.option("--backbone", default=backbones.DEFAULT, show_default=True, help="Name or ONNX file.")
@backbone_options
@click.option(
    "--out",
    type=PLACE,
    required=True,
    help="The store: an HDF5 file, here or behind a URL; with --engine a folder.",
)
@workers
@click.option("--on-error", type=click.Choice(["skip", "fail"]), default="skip", show_default=True)
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of failed images above which the exit code is 1, once the good are saved.",
)
@click.option("--rehash", is_flag=True, help="Read unchanged files again as well.")
@device
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Arithmetic of the network: fp16 is for GPUs; int8 is calibrated on your images; auto "
    "takes the fastest inside the budget.",
)
@budget_options
@click.option(
    "--batch-size",
    "batch",
    type=click.IntRange(min=1),
    help="Images in one inference; the default is 4 on a CPU, 64 on a GPU.",
)
@sharding_options
@as_json
def command(
    data: str,
    backbone: str,
    weights: str,
    layers: tuple[str, ...],
    pool: str | None,
    preprocess: str,
    out: Path | str,
    workers: int | None,
    on_error: str,
    max_failures: float,
    rehash: bool,
    device: str,
    precision: str,
    max_drift: float,
    max_accuracy_loss: float,
    batch: int | None,
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

    Only what is left to do is done: images that the store holds are not embedded again. With
    --engine the store is a folder of files, which workers fill side by side: threads here, or
    processes on a Ray cluster.
    """
    config = EmbedConfig(
        backbone=choice(backbone, weights, layers, pool, preprocess),
        workers=workers,
        on_error=on_error,
        device=device,
        precision=precision,
        batch=batch,
        rehash=rehash,
        max_failures=max_failures,
        budget=Budget(max_drift, max_accuracy_loss),
        sharding=sharding(out, engine, address, shard_size, threads_per_worker, gpus_per_worker),
    )
    with mirror.written_here(out) as store, hooks("embedding") as told:
        summary = embed(data, store, config, told)
    if json_:
        facts = dataclasses.asdict(summary) | {"store": str(out)}
        speed = round(summary.images_per_second, 1)
        print_json(facts | {"images_per_second": speed, "limit": summary.limit})
    else:
        _print(summary, out)


def _print(summary: EmbedSummary, store: Path | str) -> None:
    if summary.embedded:
        click.echo(
            f"embedded {summary.embedded:,} images in {summary.seconds:.1f} s: "
            f"{summary.images_per_second:.0f} images/s "
            f"({summary.provider} on {summary.device}, {summary.workers} "
            f"{'workers' if summary.shards else 'threads'})"
        )
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in summary.shares.items())
        click.echo(f"the workers' time: {shares}; the limit is {_LIMITS[summary.limit]}")
    if summary.failed:
        click.echo(f"{sum(summary.failures.values()):,} images failed:")
        for reason, count in summary.failures.items():
            click.echo(f"  {count:,} × {reason}")
        for path, reason in summary.failed[:_SHOWN]:
            click.echo(f"    {one_line(path)}: {reason}")
        if sum(summary.failures.values()) > _SHOWN:
            click.echo("    … all of them are in the store's group failures")
    if summary.lost:
        click.echo(f"{summary.lost:,} workers were lost on the way; others did their work")
    state = "written" if summary.changed else "up to date, nothing to do"
    files = f" in {summary.shards:,} files" if summary.shards else ""
    click.echo(f"{one_line(store)}: {summary.rows:,} rows{files}, {state}")
