"""One worker thread: it reads, decodes and infers images, and keeps their features."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.backbones.inference.extract import CHUNK as CHUNK
from headstart.backbones.inference.extract import batches
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import ImageError
from headstart.core.records import Listing
from headstart.datasets import images
from headstart.features.store.columns import FileState, image_values
from headstart.features.store.journal import Record
from headstart.features.store.writer import StoreWriter, state_key

_WILD = "the network returned values that are not finite"

Stored = Callable[[bytes], Mapping[str, NDArray[Any]] | None]
"""Finds the computed columns of a content that another file of the same store has."""


class Outcome(NamedTuple):
    """The outcome of one image of the listing.

    ``sha256`` is empty if its file could not be read, ``embedded`` says whether it went through the
    network in this run, and ``error`` why it could not be used. ``remark`` is one of
    `images.REMARKS`.
    """

    number: int
    sha256: bytes
    state: FileState
    embedded: bool
    error: str
    remark: str = ""


_Decoded = tuple[Outcome, dict[str, Any]]  # the outcome to expect, and columns of the image


class Clock:
    """Seconds of workers' time by kind of work; chunks add theirs to the total."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "decode", "infer", "write"), 0.0)
        self._last = time.perf_counter()

    def start(self) -> None:
        """Start counting."""
        self._last = time.perf_counter()

    def stop(self, kind: str) -> None:
        """Add the time since the last start or stop to a kind of work."""
        now = time.perf_counter()
        self.seconds[kind] += now - self._last
        self._last = now

    def add(self, other: Clock) -> None:
        """Add the seconds of another clock."""
        for kind, seconds in other.seconds.items():
            self.seconds[kind] += seconds

    def shares(self) -> dict[str, float]:
        """Return each kind's share of the total; empty if no image went through the network."""
        total = sum(self.seconds.values())
        embedded = self.seconds["infer"] > 0
        return {k: round(v / total, 4) for k, v in self.seconds.items()} if embedded else {}


@dataclass(frozen=True)
class ShardHooks:
    """What the worker of one file of a folder needs to know and to report.

    Attributes:
        stored: finds features in the folder's other files.
        suspects: numbers of images that were in progress when a process died; each is decoded in a
            separate process.
        note: receives the numbers of images before work on them starts.
    """

    stored: Stored = field(default=lambda sha256: None)
    suspects: Collection[int] = ()
    note: Callable[[Sequence[int]], None] = field(default=lambda numbers: None)


class Worker:
    """Reads, decodes and infers chunks of images; all threads share one."""

    def __init__(
        self, listing: Listing, runner: Runner, writer: StoreWriter, shard: ShardHooks | None = None
    ) -> None:
        self._listing, self._runner, self._writer = listing, runner, writer
        self._shard = shard or ShardHooks()

    def embed(self, chunk: Sequence[int]) -> tuple[list[Outcome], Clock]:
        """Embed images by number and append their features to the journal."""
        clock = Clock()
        outcomes: list[Outcome] = []
        records: list[Record] = []
        self._shard.note(chunk)
        decoded = self._decoded(chunk, outcomes, records, clock)
        for inferred, crops in batches(decoded, self._runner.batch):
            clock.start()
            features = self._runner.embed(crops)
            clock.stop("infer")
            self._keep(inferred, features, outcomes, records)
        clock.start()
        if records:
            self._writer.append(records)
        clock.stop("write")
        return outcomes, clock

    def _decoded(
        self, chunk: Sequence[int], outcomes: list[Outcome], records: list[Record], clock: Clock
    ) -> Iterator[tuple[_Decoded, NDArray[np.uint8]]]:
        """Yield the images to infer; add the outcomes of all others to the lists."""
        for number in chunk:
            sha256, state = b"", FileState(-1, -1)
            ref = self._listing.images[number]
            clock.start()
            try:
                data, known_state = datasets.read(self._listing, ref)
                state = FileState(*known_state)
                sha256 = hashlib.sha256(data).digest()
                clock.stop("read")
                if not self._writer.claim(sha256):
                    outcomes.append(Outcome(number, sha256, state, embedded=False, error=""))
                    continue
                if existing := self._shard.stored(sha256):
                    records.append(Record(sha256, state_key(ref.path, state), existing))
                    outcomes.append(Outcome(number, sha256, state, embedded=False, error=""))
                    continue
                decode = (
                    images.decode if number not in self._shard.suspects else images.decode_apart
                )
                rules = self._runner.backbone.preprocess
                crop = decode(data, rules)
                shown = crop[: rules.input_size[0]] if len(rules.each_view) > 1 else crop
                values = image_values(shown)
                remark = images.remark(data, shown)
                clock.stop("decode")
            except ImageError as error:
                outcomes.append(Outcome(number, sha256, state, embedded=False, error=str(error)))
                continue
            yield (Outcome(number, sha256, state, True, "", remark), values), crop

    def _keep(
        self,
        decoded: Sequence[_Decoded],
        features: NDArray[np.float32],
        outcomes: list[Outcome],
        records: list[Record],
    ) -> None:
        for (image, values), row in zip(decoded, features, strict=True):
            if not np.isfinite(row).all():
                outcomes.append(image._replace(embedded=False, error=_WILD))
                continue
            outcomes.append(image)
            key = state_key(self._listing.images[image.number].path, image.state)
            records.append(Record(image.sha256, key, {"features": row} | values))
