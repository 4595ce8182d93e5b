"""A store that is a folder: who does what is decided here, what is done in `shard`.

The plan is written first, each worker leaves a finished file, and the manifest that makes the files
one store comes last, in one rename. Until then a folder holds the store that it held before. So a
run that ends anywhere is continued by the same command: finished shards are recognised, unfinished
ones go on from their journals.
"""

from __future__ import annotations

import dataclasses
import random
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart import datasets
from headstart.backbones.inference import parity
from headstart.backbones.inference.description import read_backbone, read_metadata
from headstart.core.artifacts import BACKBONE
from headstart.core.errors import HeadstartError, InputError, StoreError, one_line
from headstart.core.files import cannot_write, make_folder, replacing, sha256_of, write_text
from headstart.core.parallel import Engine, ThreadEngine
from headstart.core.records import Extraction, Listing
from headstart.features.embed.config import EmbedConfig, EmbedSummary, Hooks, Sharding
from headstart.features.embed.partition import Part, divide, listing_digest, shard_size
from headstart.features.embed.shard_worker import (
    CONTENTS,
    PROBE,
    WORK,
    Done,
    Start,
    Task,
    threads_of,
)
from headstart.features.embed.single_file import Facts, software
from headstart.features.store import Manifest, Shard, manifest, recorded_hash, write_contents
from headstart.features.store.columns import stored_name
from headstart.features.store.lock import WriterLock, sweep

_LAG = 60.0  # seconds until a file that another machine has written must be seen here
_SAMPLES = 8  # images that a worker must be able to see


def embed_sharded(
    data: str,
    listing: Listing,
    model: Path,
    facts: Facts,
    out: Path,
    config: EmbedConfig,
    hooks: Hooks,
) -> EmbedSummary:
    """Bring a store that is a folder up to date with a listing.

    Args:
        data: the source, to be listed again at the end.
        listing: what it held when the run began.
        model: the backbone's file.
        facts: what the store says of it.
        out: the folder.
        config: see `EmbedConfig`; ``sharding`` is there.
        hooks: where to report.

    Raises:
        HeadstartError: as `features.embed.embed` says; the engine is not there, its workers see
            other files or run other code, or die again and again. What was finished is kept.
    """
    described = read_metadata(model)
    extraction = Extraction(read_backbone(described, model))
    with _writing(out), _engine(config, hooks) as engine:
        held, plan = _begin(out, listing, extraction, config, engine.workers(), hooks)
        parts = list(divide(listing.images, plan.listing["shard_size"]))
        contents = _prepare(out, model, plan)
        manifest.write(out, plan, manifest.PLAN)
        start = Start(
            out.resolve(),
            (out / WORK / PROBE).read_text(),
            sha256_of(model),
            facts,
            config,
            _samples(listing),
            contents,
        )
        tasks = list(_files(parts, held, plan.generation))
        hooks.notice(f"{len(tasks):,} shards for {engine.workers():,} workers")
        started = time.perf_counter()
        done = _collect(
            out, engine.run(start, _largest_first(listing, parts, tasks)), listing, hooks
        )
        seconds = round(time.perf_counter() - started, 3)
        made = [done[file] for file, _ in tasks]
        summary = _summary(out, listing, made, seconds, facts, getattr(engine, "lost", 0))
        if not summary.rows:
            told = "; ".join(f"{n} × {why}" for why, n in list(summary.failures.items())[:5])
            raise InputError(f"none of {len(listing.images):,} images could be used ({told})")
        proof = described[parity.METADATA]
        summary = _publish(out, held, plan, made, summary, facts, proof)
    if told := _changed(data, plan):
        hooks.notice(told)
    return summary


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Hold the right to write a folder, which is made if need be.

    Raises:
        StoreError: another process has it, or something else lies there.
        OutputError: it cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise StoreError(
            f"{one_line(out)} is a file; with --engine a store is a folder: choose another --out"
        )
    if out.is_dir():
        found = {path.name for path in out.iterdir()}
        ours = {manifest.NAME, manifest.PLAN, WORK, f"{manifest.NAME}.lock"}
        if found and not found & ours:
            raise StoreError(
                f"{one_line(out)} is a folder that holds other things, such as "
                f"{one_line(min(found))}; choose a new one for the store"
            )
    make_folder(out)
    lock = WriterLock(out / manifest.NAME)
    try:
        with suppress(OSError):  # what a killed driver left half written is in nobody's way
            for name in (manifest.NAME, manifest.PLAN):
                sweep(out / name)
        yield
    finally:
        lock.close()


@contextmanager
def _engine(config: EmbedConfig, hooks: Hooks) -> Iterator[Engine]:
    sharding = config.sharding or Sharding()
    engine: Engine
    if sharding.engine == "ray":
        from headstart.core.parallel.ray_engine import RayEngine

        engine = RayEngine(
            address=sharding.address,
            count=config.workers,
            cpus=threads_of(config),
            gpus=sharding.gpus,
            notice=hooks.notice,
        )
    else:
        engine = ThreadEngine(config.workers)
    try:
        yield engine
    finally:
        engine.close()


def _begin(
    out: Path,
    listing: Listing,
    extraction: Extraction,
    config: EmbedConfig,
    workers: int,
    hooks: Hooks,
) -> tuple[Manifest | None, Manifest]:
    """Return the store that the folder holds, if any, and the plan of what it is to hold.

    Raises:
        StoreError: it holds another extraction, or is damaged.
    """
    found = {name: manifest.read(out, name) for name in _held_names(out)}
    for one in found.values():
        if one.digest != extraction.digest:
            raise StoreError(
                f"{one_line(out)} holds features of another extraction "
                f"({one_line(extraction.difference(one.extraction))}); choose another --out"
            )
    if manifest.PLAN in found:
        hooks.notice("continuing a run that was not finished")
    held = found.get(manifest.NAME)
    last = found.get(manifest.PLAN) or held
    size = (config.sharding or Sharding()).shard_size
    if size is None:
        size = last.listing["shard_size"] if last else shard_size(len(listing.images), workers)
    told = {
        "images": len(listing.images),
        "digest": listing_digest(listing),
        "shard_size": size,
        "source": listing.name,
    }
    classes = tuple(stored_name(name) for name in listing.classes)
    generation = held.generation + 1 if held else 1
    return held, Manifest(
        extraction.to_json(), extraction.digest, classes, (), told, generation=generation
    )


def _held_names(out: Path) -> list[str]:
    return [name for name in (manifest.NAME, manifest.PLAN) if (out / name).exists()]


def _prepare(out: Path, model: Path, plan: Manifest) -> bool:
    """Lay out what workers need; says whether there is an index of what the store holds."""
    work = out / WORK
    try:
        work.mkdir(exist_ok=True)
        copy = work / BACKBONE
        if not copy.exists() or sha256_of(copy) != sha256_of(model):
            with replacing(copy) as partial:
                shutil.copyfile(model, partial)
        shutil.rmtree(work / CONTENTS, ignore_errors=True)
    except OSError as error:
        raise cannot_write(work, error) from error
    write_text(work / PROBE, secrets.token_hex(16))
    before = [manifest.read(out, name) for name in _held_names(out)]
    if all(one.listing == plan.listing for one in before):
        return False
    files = [path for path in manifest.shard_files(out) if recorded_hash(path)]
    write_contents(work / CONTENTS, files)
    return bool(files)


def _files(
    parts: Sequence[Part], held: Manifest | None, generation: int
) -> Iterator[tuple[str, str]]:
    """Yield each part's file, and the one that held it before."""
    before = {manifest.key_of(shard.file): shard.file for shard in held.shards} if held else {}
    for part in parts:
        yield manifest.file_name(part.key, generation), before.get(part.key, "")


def _largest_first(
    listing: Listing, parts: Sequence[Part], tasks: Sequence[tuple[str, str]]
) -> Iterator[Task]:
    """Yield the tasks so that workers end together: what is long begins early.

    Longest processing time first; Graham, Bounds on Multiprocessing Timing Anomalies, 1969.
    """
    place = {name: at for at, name in enumerate(listing.classes)}
    for at in sorted(range(len(parts)), key=lambda at: -len(parts[at])):
        refs = listing.images[parts[at].start : parts[at].stop]
        images = tuple((ref.path, ref.label, ref.split) for ref in refs)
        used = {ref.label for ref in refs if ref.label is not None}
        classes = tuple(sorted(used, key=place.__getitem__))
        reader = listing.reader and listing.reader.subset(ref.path for ref in refs)
        yield Task(listing.root.absolute(), images, classes, listing.name, *tasks[at], reader)


def _collect(out: Path, results: Iterable[Done], listing: Listing, hooks: Hooks) -> dict[str, Done]:
    """Return what became of each shard, by its file's name in the plan."""
    done: dict[str, Done] = {}
    images = 0
    for result in results:
        _arrived(out, result)
        done[result.task] = result
        images += result.summary.rows + sum(result.summary.failures.values())
        hooks.progress(images, len(listing.images))
    return done


def _arrived(out: Path, done: Done) -> None:
    """Make sure that this machine sees what a worker has written.

    Raises:
        HeadstartError: it does not, even after a while: file systems of networks may lag behind.
    """
    deadline = time.monotonic() + _LAG
    while True:
        with suppress(OSError):
            if recorded_hash(out / done.file) == done.seal:
                return
        if time.monotonic() > deadline:
            raise HeadstartError(
                f"the worker on {one_line(done.host)} has written {one_line(done.file)}, but it is "
                f"not in {one_line(out)} here; give an --out that every node has mounted"
            )
        time.sleep(0.5)


def _summary(
    out: Path, listing: Listing, made: Sequence[Done], seconds: float, facts: Facts, lost: int
) -> EmbedSummary:
    """Add up what the shards' runs did."""
    reasons: Counter[str] = Counter()
    spent: dict[str, float] = {}
    for one in made:
        reasons.update(one.summary.failures)
        for kind, share in one.summary.shares.items():
            spent[kind] = spent.get(kind, 0) + share * one.summary.seconds
    total = sum(spent.values())
    first = made[0].summary
    return EmbedSummary(
        store=out,
        changed=True,
        rows=sum(one.summary.rows for one in made),
        embedded=sum(one.summary.embedded for one in made),
        reused=sum(one.summary.reused for one in made),
        failures=dict(reasons.most_common()),
        failed=[failed for one in made for failed in one.summary.failed],
        seconds=seconds,
        shares={kind: round(value / total, 4) for kind, value in spent.items()},
        provider=first.provider,
        device=", ".join(sorted({one.summary.device for one in made})),
        batch=first.batch,
        workers=len({(one.host, one.worker) for one in made}),
        source=datasets.describe(listing),
        precision=facts.precision,
        shards=len(made),
        lost=lost,
    )


def _publish(
    out: Path,
    held: Manifest | None,
    plan: Manifest,
    made: Sequence[Done],
    summary: EmbedSummary,
    facts: Facts,
    proof: str,
) -> EmbedSummary:
    """Write the manifest, unless it says the same already, and remove what it does not name."""
    shards = tuple(
        Shard(one.file, one.summary.rows, sum(one.summary.failures.values()), one.seal)
        for one in made
    )
    same = held is not None and (held.shards, held.classes) == (shards, plan.classes)
    if not same:
        run = {
            "source": plan.listing["source"],
            "model": facts.model,
            "weights": facts.weights,
            "precision": facts.precision,
            "software": software(),
            "provider": summary.provider,
            "device": summary.device,
            "workers": summary.workers,
            "embedded": summary.embedded,
            "seconds": summary.seconds,
            "images_per_second": round(summary.images_per_second, 1),
            "failures": summary.failures,
            "lost": summary.lost,
            "memory": max(one.memory for one in made),
        }
        manifest.write(out, dataclasses.replace(plan, shards=shards, run=run, certificate=proof))
    _tidy(out, {shard.file for shard in shards})
    return dataclasses.replace(summary, changed=not same)


def _tidy(out: Path, keep: set[str]) -> None:
    """Remove what the finished store does not name; what cannot be removed is in nobody's way."""
    with suppress(OSError):
        for path in manifest.leftovers(out):
            if path.name not in keep:
                path.unlink(missing_ok=True)
        (out / manifest.PLAN).unlink(missing_ok=True)
        shutil.rmtree(out / WORK, ignore_errors=True)


def _samples(listing: Listing) -> tuple[Listing, tuple[int, ...]]:
    """Return some images that are there, and the sizes that their states say."""
    count = len(listing.images)
    chosen = random.Random(count).sample(range(count), min(_SAMPLES, count))
    states = {number: datasets.state(listing, listing.images[number]) for number in chosen}
    there = {number: state[0] for number, state in states.items() if state}
    some = datasets.subset(listing, there)
    return dataclasses.replace(some, root=some.root.absolute()), tuple(there.values())


def _changed(data: str, plan: Manifest) -> str:
    """Say in a line whether the source lists other images than when the run began."""
    try:
        now = datasets.open_source(data)
    except InputError as error:
        return f"WARNING: the source cannot be listed any more ({error}); the store is complete"
    if listing_digest(now) == plan.listing["digest"]:
        return ""
    return (
        f"WARNING: the source changed during the run, from {plan.listing['images']:,} to "
        f"{len(now.images):,} images or in their names; the store holds what was listed at the "
        "beginning: run the same command again for the rest"
    )
