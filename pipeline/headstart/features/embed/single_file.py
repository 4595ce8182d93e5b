"""Bringing one store file up to date with a listing: what every run comes down to."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headstart import datasets
from headstart.backbones.inference import parity
from headstart.backbones.inference.lazy import LazyRunner
from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores, run_threads
from headstart.core.records import Extraction, Listing
from headstart.features.embed.config import EmbedConfig, EmbedSummary, Hooks, limit_of
from headstart.features.embed.outcomes import Outcomes
from headstart.features.embed.worker import CHUNK, Care, Clock, Worker
from headstart.features.store import FileState, StoreWriter, state_key
from headstart.features.store.columns import stored_name


@dataclass(frozen=True)
class Facts:
    """What a store says of the network that made its features, besides what the network says.

    Attributes:
        model: the ONNX file.
        weights: the user's own weights file; empty if none was given.
        precision: what was measured where ``int8`` or ``auto`` was asked for.
    """

    model: str
    weights: str
    precision: dict[str, Any] = field(default_factory=dict)


def fill(
    listing: Listing,
    out: Path,
    network: LazyRunner,
    facts: Facts,
    config: EmbedConfig,
    hooks: Hooks,
    care: Care | None = None,
) -> EmbedSummary:
    """Embed what is left to do of a listing, and publish the store.

    Args:
        listing: the images.
        out: the store's file.
        network: opened, and checked against its certificate, only if there is an image to embed.
        facts: what else the store says of it.
        config: ``workers``, ``rehash`` and ``on_error`` count here.
        hooks: where to report.
        care: for a store that is a part of another one: it may have no rows.

    Raises:
        BackboneError: this machine's features differ from the exporter's.
        InputError: an image failed under ``on_error="fail"``, or none could be embedded.
        StoreError: the store is in use, damaged, or holds another extraction.
        OutputError: the store cannot be written; what was embedded before is kept.
    """
    with StoreWriter(out, Extraction(network.backbone)) as writer:
        outcomes = Outcomes(listing)
        if not config.rehash:
            _recognise(listing, writer, outcomes)
        todo = outcomes.missing()
        _say_plan(hooks, writer, config, len(listing.images), len(todo))
        drift = dataclasses.asdict(network.drift) if todo else None
        started = time.perf_counter()
        clock = Clock()
        if todo:
            worker = Worker(listing, network.runner, writer, care)
            size = max(CHUNK, network.batch)
            clock = _work(listing, worker, config, outcomes, todo, hooks, size)
        run = {
            "source": listing.name,
            "model": facts.model,
            "weights": facts.weights,
            "provider": network.provider,
            "device": network.device,
            "batch": network.batch,
            "workers": config.workers or available_cores(),
            "shares": clock.shares(),
            "limit": limit_of(clock.shares()),
            "seconds": round(time.perf_counter() - started, 3),
            "certificate": drift,
            "precision": facts.precision,
            "software": software(),
        }
        proof = network.metadata.get(parity.METADATA, "")
        return _publish(listing, outcomes, writer, out, run, proof, empty=care is not None)


def _work(
    listing: Listing,
    worker: Worker,
    config: EmbedConfig,
    outcomes: Outcomes,
    todo: Sequence[int],
    hooks: Hooks,
    size: int,
) -> Clock:
    """Embed what is left to do and fill in its outcomes; returns where the time went."""
    clock, done = Clock(), 0
    workers = config.workers or available_cores()
    for chunk, spent in run_threads(worker.embed, _chunks(todo, size), workers):
        for outcome in chunk:
            if outcome.error and config.on_error == "fail":
                path = listing.images[outcome.number].path
                raise InputError(
                    f"{one_line(path)}: {outcome.error} (--on-error fail; what was embedded "
                    "before it is kept, --on-error skip goes on)"
                )
            outcomes.put(*outcome)
        clock.add(spent)
        done += len(chunk)
        hooks.progress(done, len(todo))
    return clock


def _recognise(listing: Listing, writer: StoreWriter, outcomes: Outcomes) -> None:
    """Fill in the images whose file has not changed since it was embedded."""
    for number, ref in enumerate(listing.images):
        known = datasets.state(listing, ref)
        if known is None:
            continue  # the worker will meet the same error and report it
        state = FileState(*known)
        sha256 = writer.hash_of(state_key(ref.path, state))
        if sha256 is not None:
            outcomes.put(number, sha256, state, embedded=False)


def _say_plan(
    hooks: Hooks, writer: StoreWriter, config: EmbedConfig, listed: int, todo: int
) -> None:
    if writer.journalled_before:
        kept = f"{writer.journalled_before:,} images"
        hooks.notice(f"continuing: {kept} of an unfinished run are kept")
    if config.rehash:
        hooks.notice(f"reading all {listed:,} files again")
    elif writer.published_before:
        hooks.notice(f"{listed - todo:,} of {listed:,} images are in the store already")


def _chunks(todo: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(todo), size):
        yield todo[start : start + size]


def _publish(
    listing: Listing,
    outcomes: Outcomes,
    writer: StoreWriter,
    out: Path,
    run: dict[str, Any],
    proof: str,
    *,
    empty: bool,
) -> EmbedSummary:
    rows, failures = outcomes.split()
    reasons = dict(Counter(failure.reason for failure in failures).most_common())
    if not rows and not empty:
        told = "; ".join(f"{count} × {reason}" for reason, count in list(reasons.items())[:5])
        raise InputError(f"none of {len(failures):,} images could be used ({told})")
    classes = [stored_name(name) for name in listing.classes]
    speed = round(outcomes.embedded / run["seconds"], 1) if run["seconds"] else 0.0
    known = {"embedded": outcomes.embedded, "images_per_second": speed, "failures": reasons}
    published = writer.publish(rows, failures, classes, run | known, proof)
    return EmbedSummary(
        store=out,
        changed=published.changed,
        rows=len(rows),
        embedded=outcomes.embedded,
        reused=len(rows) - outcomes.embedded,
        failures=reasons,
        failed=[(failure.path, failure.reason) for failure in failures],
        seconds=run["seconds"],
        shares=run["shares"],
        provider=run["provider"],
        device=run["device"],
        batch=run["batch"],
        workers=run["workers"],
        source=datasets.describe(listing),
        precision=run["precision"],
    )


def software() -> dict[str, str]:
    """Return the versions of the libraries that features depend on."""
    names = ("headstart", "onnxruntime", "numpy", "Pillow", "h5py")
    return {name: version(name) for name in names}
