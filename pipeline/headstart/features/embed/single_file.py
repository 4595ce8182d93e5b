"""Bringing one store file up to date with a listing: the core of every run."""

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
from headstart.features.embed.worker import CHUNK, Clock, Outcome, ShardHooks, Worker
from headstart.features.store import FileState, StoreWriter, state_key
from headstart.features.store.columns import stored_name


@dataclass(frozen=True)
class Provenance:
    """Where a store's network comes from, besides what its file says.

    Attributes:
        model: the ONNX file.
        weights: the user's own weights file; empty if there was none.
        precision: the measurements behind ``int8`` or ``auto``; empty for others.
    """

    model: str
    weights: str
    precision: dict[str, Any] = field(default_factory=dict)


def fill(
    listing: Listing,
    out: Path,
    network: LazyRunner,
    provenance: Provenance,
    config: EmbedConfig,
    hooks: Hooks,
    shard: ShardHooks | None = None,
) -> EmbedSummary:
    """Embed the images of a listing that a store file lacks, and publish the file.

    The network is opened, and checked against its certificate, only if there is an image to embed.
    A file that is a shard may have no rows.

    Raises:
        InputError: an image failed under ``on_error="fail"``, or none could be embedded.
    """
    with StoreWriter(out, Extraction(network.backbone)) as writer:
        outcomes = Outcomes(listing)
        if not config.rehash:
            _recognise(listing, writer, outcomes)
        todo = outcomes.missing()
        _announce(hooks, writer, config, len(listing.images), len(todo))
        drift = dataclasses.asdict(network.drift) if todo else None
        started, clock, finished = time.perf_counter(), Clock(), 0
        if todo:
            worker = Worker(listing, network.runner, writer, shard)
            chunks = _chunks(todo, max(CHUNK, network.batch))
            for chunk, spent in run_threads(worker.embed, chunks, _workers(config)):
                _note(listing, config, outcomes, chunk)
                clock.add(spent)
                finished += len(chunk)
                hooks.progress(finished, len(todo))
        run = {
            "source": listing.name,
            "seconds": round(time.perf_counter() - started, 3),
            "certificate": drift,
        }
        run |= _facts(network, provenance, config, clock)
        proof = network.metadata.get(parity.METADATA, "")
        return _publish(listing, outcomes, writer, out, run, proof, empty=shard is not None)


def _workers(config: EmbedConfig) -> int:
    return config.workers or available_cores()


def _facts(
    network: LazyRunner, provenance: Provenance, config: EmbedConfig, clock: Clock
) -> dict[str, Any]:
    shares = clock.shares()
    return dataclasses.asdict(provenance) | {
        "provider": network.provider,
        "device": network.device,
        "batch": network.batch,
        "workers": _workers(config),
        "shares": shares,
        "limit": limit_of(shares),
        "software": software(),
    }


def _note(
    listing: Listing, config: EmbedConfig, outcomes: Outcomes, chunk: Sequence[Outcome]
) -> None:
    for outcome in chunk:
        if outcome.error and config.on_error == "fail":
            path = listing.images[outcome.number].path
            raise InputError(
                f"{one_line(path)}: {outcome.error} (--on-error fail; images embedded before it "
                "are kept; --on-error skip continues past bad images)"
            )
        outcomes.put(*outcome)


def _recognise(listing: Listing, writer: StoreWriter, outcomes: Outcomes) -> None:
    """Fill in the images whose file has not changed since it was embedded."""
    for number, ref in enumerate(listing.images):
        current = datasets.state(listing, ref)
        if current is None:
            continue  # the worker reports the same error
        state = FileState(*current)
        sha256 = writer.hash_of(state_key(ref.path, state))
        if sha256 is not None:
            outcomes.put(number, sha256, state, embedded=False)


def _announce(
    hooks: Hooks, writer: StoreWriter, config: EmbedConfig, listed: int, todo: int
) -> None:
    if writer.journalled_before:
        hooks.notice(
            f"resuming: {writer.journalled_before:,} images of an interrupted run are kept"
        )
    if config.rehash:
        hooks.notice(f"reading all {listed:,} files again")
    elif writer.published_before:
        hooks.notice(f"{listed - todo:,} of {listed:,} images are already in the store")


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
        raise InputError(no_usable_images(len(failures), reasons))
    classes = [stored_name(name) for name in listing.classes]
    speed = round(outcomes.embedded / run["seconds"], 1) if run["seconds"] else 0.0
    run |= {"embedded": outcomes.embedded, "images_per_second": speed, "failures": reasons}
    published = writer.publish(rows, failures, classes, run, proof)
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


def no_usable_images(count: int, reasons: dict[str, int]) -> str:
    """Say why no image of a listing could be used."""
    listed = "; ".join(f"{times} × {reason}" for reason, times in list(reasons.items())[:5])
    return f"none of {count:,} images could be used ({listed})"


def software() -> dict[str, str]:
    """Return the versions of the libraries that features depend on."""
    names = ("headstart", "onnxruntime", "numpy", "Pillow", "h5py")
    return {name: version(name) for name in names}
