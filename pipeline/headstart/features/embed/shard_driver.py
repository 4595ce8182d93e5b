"""Embedding into a folder: the driver that distributes the work of `shard_worker`.

The plan is written first, each worker leaves a finished file, and the manifest that makes the files
one store comes last, in one rename. Until then the folder holds the previous store. The same
command continues an interrupted run: it recognises finished shards and resumes others from their
journals.
"""

from __future__ import annotations

import dataclasses
import random
import secrets
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headstart import datasets
from headstart.backbones.inference import external_data, parity
from headstart.backbones.inference.description import read_backbone, read_metadata
from headstart.core.artifacts import BACKBONE
from headstart.core.errors import HeadstartError, InputError, StoreError, one_line
from headstart.core.files import cannot_write, make_folder, replacing, sha256_of, write_text
from headstart.core.hooks import Hooks
from headstart.core.parallel import Engine, ThreadEngine
from headstart.core.records import Extraction, Listing
from headstart.core.targets import SINGLE_LABEL
from headstart.features.embed.config import EmbedConfig, EmbedSummary, Sharding
from headstart.features.embed.partition import Part, divide, listing_digest, shard_size
from headstart.features.embed.replacement import StoredRows
from headstart.features.embed.shard_worker import (
    CONTENTS,
    PROBE,
    WORK,
    ShardResult,
    Task,
    WorkerSetup,
    threads_of,
)
from headstart.features.embed.single_file import Provenance, no_usable_images, software
from headstart.features.store import manifest
from headstart.features.store.columns import stored_name
from headstart.features.store.content_index import write_contents
from headstart.features.store.lock import WriterLock, sweep
from headstart.features.store.manifest import Manifest, Shard
from headstart.features.store.seal import recorded_hash

_LAG = 60.0  # seconds in which a file written by another machine must become visible here
_SAMPLES = 8  # images that a worker must be able to see


@dataclass(frozen=True)
class ShardedRun:
    """A run that brings a store that is a folder, ``out``, up to date with a listing."""

    listing: Listing
    model: Path
    provenance: Provenance
    out: Path
    config: EmbedConfig
    hooks: Hooks

    def embed(self, data: str) -> EmbedSummary:
        """Embed what the folder lacks.

        At the end, the source, ``data``, is listed again unless it is certain that no name changed
        meanwhile.

        Raises:
            HeadstartError: as for `features.embed.embed`; or the engine is not available, its
                workers see other files or run other code, or die repeatedly. Finished work is kept.
        """
        out, listing, metadata = self.out, self.listing, read_metadata(self.model)
        with _writing(out), closing(self._engine()) as engine:
            extraction = Extraction(read_backbone(metadata, self.model))
            existing, plan = self._plan(extraction, engine.workers())
            before = self._stored_rows(existing, plan)
            setup = WorkerSetup(
                out.resolve(),
                *_prepare(out, self.model),
                provenance=self.provenance,
                config=self.config,
                samples=_samples(listing),
                contents=_index(out, plan),
            )
            manifest.write(out, plan, manifest.PLAN)
            started = time.perf_counter()
            results = self._results(setup, engine, existing, plan)
            seconds = round(time.perf_counter() - started, 3)
            summary = self._summary(results, seconds, getattr(engine, "lost", 0))
            if not summary.rows:
                raise InputError(no_usable_images(len(listing.images), summary.failures))
            plan = dataclasses.replace(plan, certificate=metadata[parity.METADATA])
            summary = self._publish(existing, plan, results, summary)
            dropped = before.dropped(manifest.files(out)) if before else 0
            summary = dataclasses.replace(summary, dropped=dropped)
        if not datasets.unchanged(listing) and (warning := _changed(data, self.config, plan)):
            self.hooks.notice(warning)
        return summary

    def _engine(self) -> Engine:
        sharding = self.config.sharding or Sharding()
        if sharding.engine != "ray":
            return ThreadEngine(self.config.workers)
        from headstart.core.parallel.ray_engine import RayEngine

        return RayEngine(
            address=sharding.address,
            count=self.config.workers,
            cpus=threads_of(self.config),
            gpus=sharding.gpus,
            notice=self.hooks.notice,
        )

    def _plan(self, extraction: Extraction, workers: int) -> tuple[Manifest | None, Manifest]:
        listing, manifests = self.listing, _manifests(self.out)
        for entry in manifests.values():
            if entry.digest != extraction.digest:
                raise StoreError(
                    f"{one_line(self.out)} holds features of a different backbone or preprocessing "
                    f"({one_line(extraction.difference(entry.extraction))}); choose another --out"
                )
        if manifest.PLAN in manifests:
            self.hooks.notice("resuming an interrupted run")
        existing = manifests.get(manifest.NAME)
        last = manifests.get(manifest.PLAN) or existing
        size = (self.config.sharding or Sharding()).shard_size
        if size is None:
            size = last.listing["shard_size"] if last else shard_size(len(listing.images), workers)
        facts = {
            "images": len(listing.images),
            "digest": listing_digest(listing),
            "shard_size": size,
            "source": listing.name,
            "root": str(listing.root) if listing.reader is None else "",
        }
        classes = tuple(stored_name(name) for name in listing.classes)
        generation = existing.generation + 1 if existing else 1
        return existing, Manifest(
            extraction.to_json(),
            extraction.digest,
            classes,
            (),
            facts,
            generation=generation,
            target=listing.target,
        )

    def _stored_rows(self, existing: Manifest | None, plan: Manifest) -> StoredRows | None:
        """Return the rows of a store of which some may go; `StoredRows.check` may refuse."""
        if existing is None or not existing.shards:
            return None
        files = manifest.files(self.out)
        if existing.listing["digest"] == plan.listing["digest"]:  # the same names in the same order
            first = existing.shards[0]
            images = datasets.subset(self.listing, range(first.rows + first.failures))
            with suppress(InputError):
                StoredRows(files[:1]).check(images, self.out)
                return None
        stored = StoredRows(files)
        if not self.config.replace:
            stored.check(self.listing, self.out)
        return stored

    def _results(
        self, setup: WorkerSetup, engine: Engine, existing: Manifest | None, plan: Manifest
    ) -> list[ShardResult]:
        images = self.listing.images
        parts = list(divide(images, plan.listing["shard_size"]))
        files = list(_files(parts, existing, plan.generation))
        self.hooks.notice(f"{len(files):,} shards for {engine.workers():,} workers")
        results: dict[str, ShardResult] = {}
        finished = 0
        for result in engine.run(setup, _largest_first(self.listing, parts, files)):
            _wait_for(self.out, result)
            results[result.task] = result
            finished += result.summary.rows + sum(result.summary.failures.values())
            self.hooks.progress(finished, len(images))
        return [results[file] for file, _ in files]

    def _summary(self, results: Sequence[ShardResult], seconds: float, lost: int) -> EmbedSummary:
        summaries = [result.summary for result in results]
        reasons: Counter[str] = Counter()
        spent: defaultdict[str, float] = defaultdict(float)
        for summary in summaries:
            reasons.update(summary.failures)
            for kind, share in summary.shares.items():
                spent[kind] += share * summary.seconds
        total = sum(spent.values())
        return dataclasses.replace(
            summaries[0],
            store=self.out,
            changed=True,
            rows=sum(summary.rows for summary in summaries),
            embedded=sum(summary.embedded for summary in summaries),
            reused=sum(summary.reused for summary in summaries),
            failures=dict(reasons.most_common()),
            failed=[failed for summary in summaries for failed in summary.failed],
            seconds=seconds,
            shares={kind: round(value / total, 4) for kind, value in spent.items()},
            device=", ".join(sorted({summary.device for summary in summaries})),
            workers=len({(result.host, result.worker) for result in results}),
            source=datasets.describe(self.listing),
            shards=len(results),
            lost=lost,
            remarks=_joined_remarks(summaries),
        )

    def _publish(
        self,
        existing: Manifest | None,
        plan: Manifest,
        results: Sequence[ShardResult],
        summary: EmbedSummary,
    ) -> EmbedSummary:
        """Write the manifest, unless it is up to date, and remove files that it does not name."""
        shards = tuple(
            Shard(result.file, each.rows, sum(each.failures.values()), result.seal)
            for result in results
            for each in [result.summary]
        )
        before = existing and (existing.shards, existing.classes, existing.target)
        same = before == (shards, plan.classes, plan.target)
        if not same:
            run = dataclasses.asdict(self.provenance) | {
                "source": plan.listing["source"],
                "root": plan.listing.get("root", ""),
                "software": software(),
                "provider": summary.provider,
                "device": summary.device,
                "workers": summary.workers,
                "embedded": summary.embedded,
                "seconds": summary.seconds,
                "images_per_second": round(summary.images_per_second, 1),
                "failures": summary.failures,
                "lost": summary.lost,
                "memory": max(result.memory for result in results),
            }
            manifest.write(self.out, dataclasses.replace(plan, shards=shards, run=run))
        _tidy(self.out, {shard.file for shard in shards})
        return dataclasses.replace(summary, changed=not same)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    if out.exists() and not out.is_dir():
        raise StoreError(
            f"{one_line(out)} is a file, but --engine writes a folder; choose another --out"
        )
    if out.is_dir():
        names = {path.name for path in out.iterdir()}
        ours = {manifest.NAME, manifest.PLAN, WORK, f"{manifest.NAME}.lock"}
        if names and not names & ours:
            raise StoreError(
                f"{one_line(out)} is a folder with other files, such as {one_line(min(names))}; "
                "choose a new folder for the store"
            )
    make_folder(out)
    with closing(WriterLock(out / manifest.NAME)):
        with suppress(OSError):  # half-written files of a killed run do no harm
            for name in (manifest.NAME, manifest.PLAN):
                sweep(out / name)
        yield


def _manifests(out: Path) -> dict[str, Manifest]:
    names = [name for name in (manifest.NAME, manifest.PLAN) if (out / name).exists()]
    return {name: manifest.read(out, name) for name in names}


def _prepare(out: Path, model: Path) -> tuple[str, str]:
    """Give workers the backbone and a probe; return the probe's content and the file's hash."""
    work, digest = out / WORK, sha256_of(model)
    try:
        work.mkdir(exist_ok=True)
        copy = work / BACKBONE
        if not copy.exists() or sha256_of(copy) != digest:
            data = external_data.data_of(model)
            if data is not None:
                external_data.copy_data(data, work / data.name)
            with replacing(copy) as partial:
                shutil.copyfile(model, partial)
    except OSError as error:
        raise cannot_write(work, error) from error
    token = secrets.token_hex(16)
    write_text(work / PROBE, token)
    return token, digest


def _index(out: Path, plan: Manifest) -> bool:
    """Index the features that the folder has, unless the listing is unchanged; True if it did."""
    folder = out / WORK / CONTENTS
    shutil.rmtree(folder, ignore_errors=True)
    if all(entry.listing == plan.listing for entry in _manifests(out).values()):
        return False
    files = [path for path in manifest.shard_files(out) if recorded_hash(path)]
    write_contents(folder, files)
    return bool(files)


def _files(
    parts: Sequence[Part], existing: Manifest | None, generation: int
) -> Iterator[tuple[str, str]]:
    shards = existing.shards if existing else ()
    before = {manifest.key_of(shard.file): shard.file for shard in shards}
    for part in parts:
        yield manifest.file_name(part.key, generation), before.get(part.key, "")


def _largest_first(
    listing: Listing, parts: Sequence[Part], tasks: Sequence[tuple[str, str]]
) -> Iterator[Task]:
    """Yield the largest tasks first, so that workers end at about the same time.

    Longest processing time first; Graham, Bounds on Multiprocessing Timing Anomalies, 1969.
    """
    code = {name: number for number, name in enumerate(listing.classes)}
    for number in sorted(range(len(parts)), key=lambda number: -len(parts[number])):
        refs = listing.images[parts[number].start : parts[number].stop]
        images = tuple((ref.path, ref.label, ref.split, ref.labels, ref.origin) for ref in refs)
        used = {ref.label for ref in refs if ref.label is not None}
        classes = tuple(sorted(used, key=code.__getitem__))
        if listing.target != SINGLE_LABEL:  # a row says of every class whether the image has it
            classes = listing.classes
        reader = listing.reader and listing.reader.subset(ref.path for ref in refs)
        root, target = listing.root.absolute(), listing.target
        yield Task(root, images, classes, listing.name, *tasks[number], reader, target)


def _wait_for(out: Path, result: ShardResult) -> None:
    deadline = time.monotonic() + _LAG
    while True:
        with suppress(OSError):
            if recorded_hash(out / result.file) == result.seal:
                return
        if time.monotonic() > deadline:
            raise HeadstartError(
                f"the worker on {one_line(result.host)} has written {one_line(result.file)}, but "
                f"it is not in {one_line(out)} here; choose an --out that every node has mounted"
            )
        time.sleep(0.5)


def _tidy(out: Path, keep: set[str]) -> None:
    """Remove files that the finished store does not name, where possible."""
    with suppress(OSError):
        for path in manifest.leftovers(out):
            if path.name not in keep:
                path.unlink(missing_ok=True)
        (out / manifest.PLAN).unlink(missing_ok=True)
        shutil.rmtree(out / WORK, ignore_errors=True)


def _samples(listing: Listing) -> tuple[Listing, tuple[int, ...]]:
    count = len(listing.images)
    chosen = random.Random(count).sample(range(count), min(_SAMPLES, count))
    states = {number: datasets.state(listing, listing.images[number]) for number in chosen}
    there = {number: state[0] for number, state in states.items() if state}
    some = datasets.subset(listing, there)
    return dataclasses.replace(some, root=some.root.absolute()), tuple(there.values())


def _changed(data: str, config: EmbedConfig, plan: Manifest) -> str:
    """Return a warning if the source's images changed during the run."""
    try:
        now = datasets.open_source(data, config.reading)
    except InputError as error:
        return f"WARNING: the source can no longer be listed ({error}); the store is complete"
    if listing_digest(now) == plan.listing["digest"]:
        return ""
    return (
        f"WARNING: the source changed during the run, from {plan.listing['images']:,} to "
        f"{len(now.images):,} images or in their names; the store has the images listed at the "
        "start: run the same command again to update it"
    )


def _joined_remarks(summaries: Sequence[EmbedSummary]) -> dict[str, tuple[int, str]]:
    joined: dict[str, tuple[int, str]] = {}
    for summary in summaries:
        for remark, (count, path) in summary.remarks.items():
            before, first = joined.get(remark, (0, path))
            joined[remark] = before + count, first
    return joined
