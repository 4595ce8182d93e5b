"""Stage: a source of images and a backbone become a feature store.

Every worker thread reads, decodes and infers one image after the other, so pixels stay in one
core's cache and never cross a process border; one image at a time also makes a feature vector
independent of its neighbours, which is why an interrupted run ends in the same rows as an
undisturbed one.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline import certificate, export, images, sources
from pipeline.distribute import available_cores, run_threads
from pipeline.errors import ImageError, InputError, one_line
from pipeline.records import Extraction, Listing
from pipeline.runner import Runner
from pipeline.store import Failure, FileState, Record, Row, StoreWriter, state_key
from pipeline.store.writer import stored_name

CHUNK = 8  # images a worker takes, and journals, at once: about a tenth of a second of work


@dataclass(frozen=True)
class EmbedConfig:
    """How to embed.

    Attributes:
        backbone: a name, or an ONNX file that Headstart exported.
        workers: threads; None means one per core.
        on_error: ``skip`` turns a bad image into a failure row, ``fail`` ends the run.
        device: ``cpu`` or ``cuda``.
    """

    backbone: str
    workers: int | None = None
    on_error: str = "skip"
    device: str = "cpu"


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did.

    Attributes:
        store: the store's path.
        changed: False if the store already said the same.
        rows: images in the store.
        embedded: images that went through the network in this run.
        reused: rows whose features were at hand, from an earlier run or another file's bytes.
        failures: failed images by reason.
        failed: ``(path, reason)`` of each.
        seconds: wall time of reading, decoding and inference.
        provider: the onnxruntime provider that ran.
        workers: threads used.
        source: the listing in one line.
    """

    store: Path
    changed: bool
    rows: int
    embedded: int
    reused: int
    failures: dict[str, int]
    failed: list[tuple[str, str]]
    seconds: float
    provider: str
    workers: int
    source: str

    @property
    def images_per_second(self) -> float:
        """Images embedded per second of wall time; 0 if none was."""
        return self.embedded / self.seconds if self.seconds and self.embedded else 0.0


@dataclass(frozen=True)
class Hooks:
    """How a stage tells what it does; the default says nothing.

    Attributes:
        notice: receives one line at a time.
        progress: receives (images done, images in all).
    """

    notice: Callable[[str], None] = field(default=lambda line: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


class _Outcome(NamedTuple):
    """What became of one image of the listing."""

    number: int
    sha256: bytes
    state: FileState
    embedded: bool
    error: str


def embed(data: str, out: Path, config: EmbedConfig, hooks: Hooks | None = None) -> EmbedSummary:
    """Embed every image of a source into a store, doing only what is left to do.

    Args:
        data: an image folder, a CSV manifest or ``torchvision:NAME``.
        out: the store to write or to bring up to date.
        config: see `EmbedConfig`.
        hooks: where to report.

    Raises:
        InputError: the source cannot be used, an image failed under ``on_error="fail"``, or no
            image could be embedded.
        BackboneError: see `pipeline.export.model_file`; or this machine's features differ from
            the exporter's.
        RunnerError: the device is not available.
        StoreError: the store is in use, damaged, or holds another extraction.
        OutputError: the store cannot be written; what was embedded before is kept.
    """
    hooks = hooks or Hooks()
    listing = sources.open_source(data)
    hooks.notice(sources.describe(listing))
    model, parity = export.model_file(config.backbone)
    if parity is not None:
        hooks.notice(f"exported {one_line(config.backbone)} ({parity})")
    runner = Runner(model, config.device)
    workers = config.workers or available_cores()
    with StoreWriter(out, Extraction(runner.backbone)) as writer:
        preprocess = runner.backbone.preprocess
        drift = certificate.check_metadata(runner.metadata, runner.embed, preprocess)
        started = time.perf_counter()
        outcomes = _known(listing, writer)
        todo = [at for at, outcome in enumerate(outcomes) if outcome is None]
        _say_plan(hooks, writer, len(listing.images), len(todo))
        taken: dict[bytes, int] = {}  # content: the image that is embedded for all that share it
        work = partial(_embed_chunk, listing, runner, writer, taken)
        done = 0
        for chunk in run_threads(work, _chunks(todo), workers):
            for outcome in chunk:
                if outcome.error and config.on_error == "fail":
                    path = listing.images[outcome.number].path
                    raise InputError(
                        f"{one_line(path)}: {outcome.error} (--on-error fail; what was embedded "
                        "before it is kept, --on-error skip goes on)"
                    )
                outcomes[outcome.number] = outcome
            done += len(chunk)
            hooks.progress(done, len(todo))
        seconds = time.perf_counter() - started
        facts = {
            "model": str(model.resolve()),
            "certificate": {"min_cosine": drift.min_cosine, "worst": drift.worst},
            "provider": runner.provider,
            "workers": workers,
            "software": _software(),
        }
        return _publish(listing, outcomes, writer, out, seconds, facts)


def _known(listing: Listing, writer: StoreWriter) -> list[_Outcome | None]:
    """Find the images whose file has not changed since it was embedded; None for the others."""
    outcomes: list[_Outcome | None] = [None] * len(listing.images)
    for index, ref in enumerate(listing.images):
        try:
            info = (listing.root / ref.path).stat()
        except OSError:
            continue  # the worker will meet the same error and report it
        state = FileState(info.st_size, info.st_mtime_ns)
        sha256 = writer.hash_of(state_key(ref.path, state))
        if sha256 is not None:
            outcomes[index] = _Outcome(index, sha256, state, embedded=False, error="")
    return outcomes


def _say_plan(hooks: Hooks, writer: StoreWriter, listed: int, todo: int) -> None:
    if writer.journalled_before:
        hooks.notice(
            f"continuing: {writer.journalled_before:,} images of an unfinished run are kept"
        )
    if writer.published_before:
        hooks.notice(f"{listed - todo:,} of {listed:,} images are in the store already")


def _chunks(todo: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(todo), CHUNK):
        yield todo[start : start + CHUNK]


def _embed_chunk(
    listing: Listing,
    runner: Runner,
    writer: StoreWriter,
    taken: dict[bytes, int],
    chunk: Sequence[int],
) -> list[_Outcome]:
    outcomes, records = [], []
    for index in chunk:
        outcome, record = _embed_one(listing, runner, writer, taken, index)
        outcomes.append(outcome)
        if record is not None:
            records.append(record)
    if records:
        writer.append(records)
    return outcomes


def _embed_one(
    listing: Listing, runner: Runner, writer: StoreWriter, taken: dict[bytes, int], index: int
) -> tuple[_Outcome, Record | None]:
    sha256, state = b"", FileState(-1, -1)
    path = listing.images[index].path
    try:
        data, info = images.read_file(listing.root / path)
        state = FileState(info.st_size, info.st_mtime_ns)
        sha256 = hashlib.sha256(data).digest()
        if writer.holds(sha256) or taken.setdefault(sha256, index) != index:
            return _Outcome(index, sha256, state, embedded=False, error=""), None
        crop = images.decode(data, runner.backbone.preprocess)
        features = runner.embed(crop[np.newaxis])[0]
        if not np.isfinite(features).all():
            raise ImageError("the network returned values that are not finite")
    except ImageError as error:
        return _Outcome(index, sha256, state, embedded=False, error=str(error)), None
    record = Record(sha256, state_key(path, state), features, images.miniature(crop))
    return _Outcome(index, sha256, state, embedded=True, error=""), record


def _publish(
    listing: Listing,
    outcomes: Sequence[_Outcome | None],
    writer: StoreWriter,
    out: Path,
    seconds: float,
    facts: dict[str, Any],
) -> EmbedSummary:
    code = {name: at for at, name in enumerate(listing.classes)}
    unusable = {o.sha256: o.error for o in outcomes if o is not None and o.error and o.sha256}
    rows, failures, embedded = [], [], 0
    for ref, outcome in zip(listing.images, outcomes, strict=True):
        if outcome is None:
            raise AssertionError(f"{ref.path} was never worked on")
        error = outcome.error or unusable.get(outcome.sha256, "")
        if error:
            failures.append(Failure(ref.path, error, outcome.sha256))
            continue
        label = -1 if ref.label is None else code[ref.label]
        rows.append(Row(ref.path, label, ref.split, outcome.sha256, outcome.state))
        embedded += outcome.embedded
    reasons = dict(Counter(failure.reason for failure in failures).most_common())
    if not rows:
        told = "; ".join(f"{count} × {reason}" for reason, count in list(reasons.items())[:5])
        raise InputError(f"none of {len(failures):,} images could be used ({told})")
    run = facts | {"source": listing.name, "embedded": embedded, "seconds": round(seconds, 3)}
    classes = [stored_name(name) for name in listing.classes]
    published = writer.publish(rows, failures, classes, run)
    return EmbedSummary(
        store=out,
        changed=published.changed,
        rows=len(rows),
        embedded=embedded,
        reused=len(rows) - embedded,
        failures=reasons,
        failed=[(failure.path, failure.reason) for failure in failures],
        seconds=seconds,
        provider=facts["provider"],
        workers=facts["workers"],
        source=sources.describe(listing),
    )


def _software() -> dict[str, str]:
    names = ("headstart", "onnxruntime", "numpy", "Pillow", "h5py")
    return {name: version(name) for name in names}
