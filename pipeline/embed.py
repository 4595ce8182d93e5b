"""Stage: a source of images and a backbone become a feature store.

Every worker thread reads, decodes and infers one image after the other, so pixels stay in one
core's cache and never cross a process border; one image at a time also makes a feature vector
independent of its neighbours, which is why an interrupted run ends in the same rows as an
undisturbed one. On a GPU the same threads decode as many images as one inference takes there and
hand them over together: while one batch is computed, the others decode the next.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, certificate, export, images, sources
from pipeline.budget import Budget, fitting
from pipeline.callable_module import make_callable
from pipeline.distribute import available_cores, run_threads
from pipeline.errors import BackboneError, ImageError, InputError, one_line
from pipeline.outcomes import Outcomes
from pipeline.records import Choice, Extraction, Listing
from pipeline.runner import Runner
from pipeline.store import FileState, Record, StoreWriter, held_extraction, state_key
from pipeline.store.writer import stored_name

CHUNK = 8  # images a worker takes, and journals, at once: about a tenth of a second of work
_WILD = "the network returned values that are not finite"


@dataclass(frozen=True)
class EmbedConfig:
    """How to embed.

    Attributes:
        backbone: which network, with which weights, cut where; see `pipeline.records.Choice`. A
            mere name, or the path of an exported ONNX file, will do.
        workers: threads; None means one per core.
        on_error: ``skip`` turns a bad image into a failure row, ``fail`` ends the run.
        device: one of `pipeline.runner.DEVICES`.
        precision: one of `pipeline.records.PRECISIONS`; it is part of the features' identity.
        batch: images in one inference; None takes what suits the device, see `Runner`.
        rehash: read files again although their size and modification time are unchanged.
        max_failures: share of failed images above which the run counts as failed, once
            everything good is saved.
        budget: how far the features of ``int8`` and ``auto`` may be from float32's.
    """

    backbone: Choice | str
    workers: int | None = None
    on_error: str = "skip"
    device: str = "cpu"
    precision: str = "fp32"
    batch: int | None = None
    rehash: bool = False
    max_failures: float = 0.2
    budget: Budget = field(default_factory=Budget)


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
        seconds: wall time of reading, decoding, inference and writing.
        shares: what part of the workers' time went into ``read`` (and hashing), ``decode`` (and
            resizing), ``infer`` and ``write`` (to the journal); empty if nothing was embedded.
        provider: the onnxruntime provider that ran.
        device: the processor's name.
        batch: images in one inference.
        workers: threads used.
        source: the listing in one line.
        precision: what was measured where ``int8`` or ``auto`` was asked for; empty otherwise.
    """

    store: Path
    changed: bool
    rows: int
    embedded: int
    reused: int
    failures: dict[str, int]
    failed: list[tuple[str, str]]
    seconds: float
    shares: dict[str, float]
    provider: str
    device: str
    batch: int
    workers: int
    source: str
    precision: dict[str, Any] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        """Images embedded per second of wall time; 0 if none was."""
        return self.embedded / self.seconds if self.seconds and self.embedded else 0.0

    @property
    def limit(self) -> str:
        """What the run spent most of its workers' time on; empty if nothing was embedded."""
        return _limit(self.shares)


def _limit(shares: dict[str, float]) -> str:
    return max(shares, key=lambda part: shares[part]) if shares else ""


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


class _Decoded(NamedTuple):
    """An image on its way to the network."""

    number: int
    sha256: bytes
    state: FileState
    crop: NDArray[np.uint8]
    small: NDArray[np.uint8]


class _Clock:
    """Seconds of workers' time by kind of work; each chunk fills its own and adds it in."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "decode", "infer", "write"), 0.0)
        self._last = time.perf_counter()

    def start(self) -> None:
        self._last = time.perf_counter()

    def stop(self, kind: str) -> None:
        """Book the time since the last start or stop."""
        now = time.perf_counter()
        self.seconds[kind] += now - self._last
        self._last = now

    def add(self, other: _Clock) -> None:
        for kind, seconds in other.seconds.items():
            self.seconds[kind] += seconds

    def shares(self) -> dict[str, float]:
        """Return each kind's part of the whole; nothing if no image went through the network."""
        total = sum(self.seconds.values())
        embedded = self.seconds["infer"] > 0
        return {k: round(v / total, 4) for k, v in self.seconds.items()} if embedded else {}


def embed(data: str, out: Path, config: EmbedConfig, hooks: Hooks | None = None) -> EmbedSummary:
    """Embed every image of a source into a store, doing only what is left to do.

    Args:
        data: an image folder, a CSV manifest or ``torchvision:NAME``.
        out: the store to write or to bring up to date.
        config: see `EmbedConfig`.
        hooks: where to report.

    Raises:
        InputError: the source cannot be used, an image failed under ``on_error="fail"``, no image
            could be embedded, or more than ``max_failures`` failed (the others are saved).
        BackboneError: see `pipeline.export.model_file`; or this machine's features differ from
            the exporter's.
        RunnerError: the device is not available.
        StoreError: the store is in use, damaged, or holds another extraction.
        OutputError: the store cannot be written; what was embedded before is kept.
    """
    hooks = hooks or Hooks()
    listing = sources.open_source(data)
    hooks.notice(sources.describe(listing))
    model, parity, chosen = _model(listing, out, config, hooks)
    runner = Runner(model, config.device, batch=config.batch)
    if parity is not None:
        hooks.notice(f"exported {one_line(runner.backbone.name)} ({parity})")
    if runner.backbone.warning:
        hooks.notice(f"WARNING: {runner.backbone.warning}")
    with StoreWriter(out, Extraction(runner.backbone)) as writer:
        drift = certificate.check_metadata(
            runner.metadata, runner.embed, runner.backbone.preprocess
        )
        outcomes = Outcomes(listing)
        if not config.rehash:
            _recognise(listing, writer, outcomes)
        todo = outcomes.missing()
        _say_plan(hooks, writer, config, len(listing.images), len(todo))
        started = time.perf_counter()
        clock = _work(listing, runner, writer, config, outcomes, todo, hooks)
        run = {
            "source": listing.name,
            "model": str(model.resolve()),
            "weights": backbones.users_file(config.backbone),
            "provider": runner.provider,
            "device": runner.device,
            "batch": runner.batch,
            "workers": config.workers or available_cores(),
            "shares": clock.shares(),
            "limit": _limit(clock.shares()),
            "seconds": round(time.perf_counter() - started, 3),
            "certificate": dataclasses.asdict(drift),
            "precision": chosen,
            "software": _software(),
        }
        proof = runner.metadata[certificate.METADATA]
        summary = _publish(listing, outcomes, writer, out, run, proof)
    _check_failures(summary, config.max_failures)
    return summary


def _model(
    listing: Listing, out: Path, config: EmbedConfig, hooks: Hooks
) -> tuple[Path, export.Parity | None, dict[str, Any]]:
    """Return the backbone's file in the precision that was asked for, and what was measured."""
    if config.precision not in ("int8", "auto"):
        return *export.model_file(config.backbone, config.precision), {}
    model, parity = export.model_file(config.backbone)
    if Runner(model).backbone.parts:
        raise BackboneError(
            f"--precision {config.precision} is for one layer; with several take fp32 or fp16"
        )
    told = (held_extraction(out) or {}).get("backbone", {})
    fp32 = dataclasses.asdict(Runner(model).backbone)
    same = told.get("name") == fp32["name"] and told.get("layer") == fp32["layer"]
    held = str(told.get("precision", "")) if same else ""
    found, chosen = fitting(
        model, config.precision, listing, config.budget, held, config.workers, hooks.notice
    )
    return found, parity, chosen


def _work(
    listing: Listing,
    runner: Runner,
    writer: StoreWriter,
    config: EmbedConfig,
    outcomes: Outcomes,
    todo: Sequence[int],
    hooks: Hooks,
) -> _Clock:
    """Embed what is left to do and fill in its outcomes; returns where the time went."""
    worker = _Worker(listing, runner, writer)
    clock, done = _Clock(), 0
    for chunk, spent in run_threads(
        worker.embed, _chunks(todo, max(CHUNK, runner.batch)), config.workers or available_cores()
    ):
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


def _check_failures(summary: EmbedSummary, limit: float) -> None:
    failed = len(summary.failed)
    share = failed / (failed + summary.rows)
    if share > limit:
        reasons = "; ".join(f"{n:,} × {why}" for why, n in list(summary.failures.items())[:3])
        raise InputError(
            f"{failed:,} of {failed + summary.rows:,} images failed, {share:.1%}, more than "
            f"--max-failures {limit:g} allows ({reasons}); the good ones are saved in "
            f"{one_line(summary.store)}, the others named in its group failures"
        )


def _recognise(listing: Listing, writer: StoreWriter, outcomes: Outcomes) -> None:
    """Fill in the images whose file has not changed since it was embedded."""
    for number, ref in enumerate(listing.images):
        known = sources.state(listing, ref)
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


class _Worker:
    """Reads, decodes and infers chunks of images; every thread uses the same one."""

    def __init__(self, listing: Listing, runner: Runner, writer: StoreWriter) -> None:
        self._listing, self._runner, self._writer = listing, runner, writer

    def embed(self, chunk: Sequence[int]) -> tuple[list[_Outcome], _Clock]:
        """Embed images by number and put their features into the journal."""
        clock = _Clock()
        outcomes: list[_Outcome] = []
        records: list[Record] = []
        waiting: list[_Decoded] = []
        for number in chunk:
            image = self._decode(number, clock)
            if isinstance(image, _Outcome):
                outcomes.append(image)
                continue
            waiting.append(image)
            if len(waiting) == self._runner.batch:
                self._infer(waiting, outcomes, records, clock)
        if waiting:
            self._infer(waiting, outcomes, records, clock)
        clock.start()
        if records:
            self._writer.append(records)
        clock.stop("write")
        return outcomes, clock

    def _decode(self, number: int, clock: _Clock) -> _Decoded | _Outcome:
        """Read and decode an image, unless its content is at hand or cannot be used."""
        sha256, state = b"", FileState(-1, -1)
        ref = self._listing.images[number]
        clock.start()
        try:
            data, known = sources.read(self._listing, ref)
            state = FileState(*known)
            sha256 = hashlib.sha256(data).digest()
            clock.stop("read")
            if not self._writer.claim(sha256):
                return _Outcome(number, sha256, state, embedded=False, error="")
            crop = images.decode(data, self._runner.backbone.preprocess)
            small = images.miniature(crop)
            clock.stop("decode")
        except ImageError as error:
            return _Outcome(number, sha256, state, embedded=False, error=str(error))
        return _Decoded(number, sha256, state, crop, small)

    def _infer(
        self,
        waiting: list[_Decoded],
        outcomes: list[_Outcome],
        records: list[Record],
        clock: _Clock,
    ) -> None:
        """Run the images that wait through the network; what becomes of them is added to both."""
        clock.start()
        features = self._runner.embed(np.stack([image.crop for image in waiting]))
        clock.stop("infer")
        for image, row in zip(waiting, features, strict=True):
            usable = bool(np.isfinite(row).all())
            outcomes.append(
                _Outcome(image.number, image.sha256, image.state, usable, "" if usable else _WILD)
            )
            if usable:
                key = state_key(self._listing.images[image.number].path, image.state)
                records.append(Record(image.sha256, key, row, image.small))
        waiting.clear()


def _publish(
    listing: Listing,
    outcomes: Outcomes,
    writer: StoreWriter,
    out: Path,
    run: dict[str, Any],
    proof: str,
) -> EmbedSummary:
    rows, failures = outcomes.split()
    reasons = dict(Counter(failure.reason for failure in failures).most_common())
    if not rows:
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
        source=sources.describe(listing),
        precision=run["precision"],
    )


def _software() -> dict[str, str]:
    names = ("headstart", "onnxruntime", "numpy", "Pillow", "h5py")
    return {name: version(name) for name in names}


make_callable(__name__)
