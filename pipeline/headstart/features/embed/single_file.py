"""Bringing one store file up to date with a listing: the core of every run."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headstart import datasets
from headstart.backbones.inference import parity
from headstart.backbones.inference.lazy import LazyRunner
from headstart.core.errors import InputError, count, one_line
from headstart.core.hooks import Hooks
from headstart.core.parallel import available_cores, run_threads
from headstart.core.records import Extraction, Listing
from headstart.features.embed.config import EmbedConfig, EmbedSummary, limit_of
from headstart.features.embed.outcomes import Outcomes
from headstart.features.embed.replacement import StoredRows
from headstart.features.embed.worker import CHUNK, Clock, ShardHooks, Worker
from headstart.features.store.columns import FileState, stored_name
from headstart.features.store.writer import StoreWriter, state_key

_OF_RUN = ("seconds", "shares", "provider", "device", "batch", "workers", "precision")


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


@dataclass(frozen=True)
class Filling:
    """How files are filled; ``shard`` is None for a store that is one file.

    The network is opened, and checked against its certificate, only if there is an image to embed.
    """

    network: LazyRunner
    provenance: Provenance
    config: EmbedConfig
    hooks: Hooks
    shard: ShardHooks | None = None

    def fill(self, listing: Listing, out: Path) -> EmbedSummary:
        """Embed the images of a listing that a file lacks, and publish it; a shard may be empty.

        Raises:
            InputError: an image failed under ``on_error="fail"``, none could be embedded, or half
                of the rows or more would go.
        """
        with StoreWriter(out, Extraction(self.network.backbone)) as writer:
            outcomes = Outcomes(listing)
            if not self.config.rehash:
                _recognise(listing, writer, outcomes)
            todo = outcomes.missing()
            before = self._stored_rows(listing, writer, out, len(todo))
            self._announce(writer, len(listing.images), len(todo))
            drift = dataclasses.asdict(self.network.drift) if todo else None
            started, clock = time.perf_counter(), Clock()
            numbers = self._embed(listing, writer, outcomes, clock) if todo else {}
            remarks = {
                remark: (len(those), listing.images[min(those)].path)
                for remark, those in sorted(numbers.items())
            }
            seconds = round(time.perf_counter() - started, 3)
            run = {"source": listing.name, "seconds": seconds, "certificate": drift}
            if listing.reader is None:
                run["root"] = str(listing.root)  # within the source, where the paths start
            summary = self._publish(listing, outcomes, writer, out, run | self._facts(clock))
        dropped = before.dropped([out]) if before else 0
        return dataclasses.replace(summary, dropped=dropped, remarks=remarks)

    def _stored_rows(
        self, listing: Listing, writer: StoreWriter, out: Path, todo: int
    ) -> StoredRows | None:
        """Return the rows of a store of which some may go; `StoredRows.check` may refuse."""
        recognised = len(listing.images) - todo
        if self.shard is not None or recognised >= writer.published_before:
            return None
        stored = StoredRows([out])
        if not self.config.replace:
            stored.check(listing, out)
        return stored

    def _embed(
        self, listing: Listing, writer: StoreWriter, outcomes: Outcomes, clock: Clock
    ) -> dict[str, list[int]]:
        """Embed the images without an outcome, and add the workers' time to the clock.

        Returns the numbers of the images to remark on, by remark.
        """
        remarks: dict[str, list[int]] = {}
        worker, todo = Worker(listing, self.network.runner, writer, self.shard), outcomes.missing()
        size, finished = max(CHUNK, self.network.batch), 0
        chunks = (todo[start : start + size] for start in range(0, len(todo), size))
        for chunk, spent in run_threads(worker.embed, chunks, self._workers):
            for outcome in chunk:
                if outcome.error and self.config.on_error == "fail":
                    path = listing.images[outcome.number].path
                    raise InputError(
                        f"{one_line(path)}: {outcome.error} (--on-error fail; images embedded "
                        "before it are kept; --on-error skip continues past bad images)"
                    )
                outcomes.put(*outcome[:5])
                if outcome.remark:
                    remarks.setdefault(outcome.remark, []).append(outcome.number)
            clock.add(spent)
            finished += len(chunk)
            self.hooks.progress(finished, len(todo))
        return remarks

    @property
    def _workers(self) -> int:
        return self.config.workers or available_cores()

    def _facts(self, clock: Clock) -> dict[str, Any]:
        shares = clock.shares()
        return dataclasses.asdict(self.provenance) | {
            "provider": self.network.provider,
            "device": self.network.device,
            "batch": self.network.batch,
            "workers": self._workers,
            "shares": shares,
            "limit": limit_of(shares),
            "software": software(),
        }

    def _announce(self, writer: StoreWriter, listed: int, todo: int) -> None:
        notice = self.hooks.notice
        if writer.journalled_before:
            kept = count(writer.journalled_before, "image")
            notice(f"resuming: {kept} of an interrupted run kept")
        if self.config.rehash:
            notice(f"reading {count(listed, 'file')} again")
        elif writer.published_before:
            total = count(listed, "image")
            notice(f"already in the store under the same path: {listed - todo:,} of {total}")

    def _publish(
        self,
        listing: Listing,
        outcomes: Outcomes,
        writer: StoreWriter,
        out: Path,
        run: dict[str, Any],
    ) -> EmbedSummary:
        rows, failures = outcomes.split()
        reasons = dict(Counter(failure.reason for failure in failures).most_common())
        if not rows and self.shard is None:
            raise InputError(no_usable_images(len(failures), reasons))
        classes = [stored_name(name) for name in listing.classes]
        speed = round(outcomes.embedded / run["seconds"], 1) if run["seconds"] else 0.0
        run |= {"embedded": outcomes.embedded, "images_per_second": speed, "failures": reasons}
        proof = self.network.metadata.get(parity.METADATA, "")
        return EmbedSummary(
            store=out,
            changed=writer.publish(rows, failures, classes, run, proof, listing.target),
            rows=len(rows),
            embedded=outcomes.embedded,
            reused=len(rows) - outcomes.embedded,
            failures=reasons,
            failed=[(failure.path, failure.reason) for failure in failures],
            source=datasets.describe(listing),
            **{name: run[name] for name in _OF_RUN},
        )


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


def no_usable_images(count: int, reasons: dict[str, int]) -> str:
    """Say why no image of a listing could be used."""
    listed = "; ".join(f"{times} × {reason}" for reason, times in list(reasons.items())[:5])
    return f"none of {count:,} images could be used ({listed})"


@cache
def software() -> dict[str, str]:
    """Return the versions of the libraries that features depend on."""
    names = ("headstart", "onnxruntime", "numpy", "Pillow", "h5py")
    return {name: version(name) for name in names}
