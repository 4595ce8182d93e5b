"""The stage's one function: it lists the images and chooses the network and the kind of store."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.lazy import LazyRunner
from headstart.backbones.inference.precision_choice import fitting, would_pay
from headstart.core.errors import BackboneError, InputError, OutputError, one_line
from headstart.core.hooks import Hooks
from headstart.core.records import Backbone, Choice, Listing
from headstart.datasets import storage
from headstart.datasets.file_names import is_image_name
from headstart.features.embed.config import EmbedConfig, EmbedSummary
from headstart.features.embed.set_range import with_measured_range
from headstart.features.embed.shard_driver import ShardedRun
from headstart.features.embed.single_file import Filling, Provenance
from headstart.features.store import stored_extraction

_LARGE = 10_000  # images, for which choosing a precision is worth a few seconds
_SHOWN = {"policy": "decoding rules, version"}  # fields of a `Choice` that no option sets


def embed(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: EmbedConfig,
    hooks: Hooks | None = None,
) -> EmbedSummary:
    """Embed the images of a source that a store lacks, and create the store if there is none.

    Raises:
        InputError: the source cannot be used, or not for training if it should be, the store is
            of other images, an image failed under ``on_error="fail"``, no image
            could be embedded, or more than ``max_failures`` failed (the others are saved).
        BackboneError: see `backbones.export.model_file`; or this machine's features differ from the
            exporter's.
        RunnerError: the device is not available.
        StoreError: the store is in use, damaged, or has features of a different backbone.
        OutputError: the store cannot be written; what was embedded before is kept.
    """
    data, out, hooks = os.fspath(data), Path(out), hooks or Hooks()
    listing = datasets.open_source(data, config.reading)
    _check_place(data, out)
    for line in datasets.summary(listing):
        hooks.notice(line)
    if config.trainable:
        datasets.check_labels(listing)
    config = _settled(out, config, hooks)
    config = with_measured_range(listing, out, config, hooks.notice)
    model, parity, measured = _model(listing, out, config, hooks)
    network = LazyRunner(model, config.device, config.batch)
    name = one_line(network.backbone.name)
    if parity is not None:
        hooks.notice(f"exported {name} ({parity})")
    elif network.backbone.name.startswith("onnx:") and (notes := export.read_parity(model).notes):
        hooks.notice(f"{name}: {'; '.join(notes)}")
    if network.backbone.warning:
        hooks.notice(f"WARNING: {network.backbone.warning}")
    if _int8_would_pay(listing, out, config, model):
        hooks.notice("int8 would be about 2× as fast here; try --precision auto")
    weights = backbones.users_file(config.backbone)
    provenance = Provenance(str(model.resolve()), weights, measured)
    if config.sharding is not None:
        run = ShardedRun(listing, model, provenance, out, config, hooks)
        summary = run.embed(data)
    else:
        summary = Filling(network, provenance, config, hooks).fill(listing, out)
    _check_failures(summary, config.max_failures)
    return summary


def _settled(out: Path, config: EmbedConfig, hooks: Hooks) -> EmbedConfig:
    """Return the settings with values for those that the user left out, see `backbones.settled`."""
    choice = config.backbone
    choice = Choice(choice) if isinstance(choice, str) else choice
    document = stored_extraction(out)
    stored = Backbone.from_json(document["backbone"]) if document else None
    settled = backbones.settled(choice, stored)
    before, now = (vars(each) for each in (backbones.settled(choice), settled))
    kept = [f"{_SHOWN.get(key, key)} {now[key]}" for key in now if now[key] != before[key]]
    if kept:
        hooks.notice(f"the store goes on with its own {one_line(', '.join(kept))}")
    return dataclasses.replace(config, backbone=settled)


def _model(
    listing: Listing, out: Path, config: EmbedConfig, hooks: Hooks
) -> tuple[Path, export.Parity | None, dict[str, Any]]:
    """Return the backbone's file in the requested precision, and the measurements behind it."""
    if config.precision not in ("int8", "auto"):
        return *export.model_file(config.backbone, config.precision, hooks.notice), {}
    model, parity = export.model_file(config.backbone, notice=hooks.notice)
    fp32 = describe(model)
    if fp32.parts:
        raise BackboneError(
            f"--precision {config.precision} works with one layer; use fp32 or fp16 for several"
        )
    stored = (stored_extraction(out) or {}).get("backbone", {})
    same = (stored.get("name"), stored.get("layer")) == (fp32.name, fp32.layer)
    precision = str(stored.get("precision", "")) if same else ""
    workers = None if config.sharding else config.workers  # shard workers may run on other machines
    chosen, measured = fitting(
        model, config.precision, listing, config.budget, precision, workers, hooks.notice
    )
    return chosen, parity, measured


def _int8_would_pay(listing: Listing, out: Path, config: EmbedConfig, model: Path) -> bool:
    """Say whether a new, large store in float32 would be made faster in another precision."""
    large = len(listing.images) > _LARGE and config.precision == "fp32" and config.device == "cpu"
    return large and not out.exists() and not describe(model).parts and would_pay(model)


def _check_place(data: str, out: Path) -> None:
    """Refuse a store in the place of the images, or under the name of one."""
    if not storage.is_url(data):
        source, place = Path(data).resolve(), out.resolve()
        if place == source or place in source.parents:
            raise OutputError(
                f"--out {one_line(out)} is where the images are; choose another place for the store"
            )
    if is_image_name(out.name):
        raise OutputError(
            f"--out {one_line(out)} has the name of an image; call the store {out.stem}.h5"
        )


def _check_failures(summary: EmbedSummary, limit: float) -> None:
    failed = sum(summary.failures.values())
    share = failed / (failed + summary.rows)
    if share > limit:
        reasons = "; ".join(f"{n:,} × {why}" for why, n in list(summary.failures.items())[:3])
        raise InputError(
            f"{failed:,} of {failed + summary.rows:,} images failed, {share:.1%}, more than "
            f"--max-failures {limit:g} allows ({reasons}); the others are saved in "
            f"{one_line(summary.store)}, whose group failures lists those that failed"
        )
