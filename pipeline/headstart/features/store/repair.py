"""Repairing a store: keep the rows that can be trusted and drop the others.

Another process decides which can be trusted (`recovery`); this module replaces the store.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from headstart.core import sandbox
from headstart.core.errors import StoreError, one_line
from headstart.core.files import cannot_write, replacing
from headstart.features.store import manifest, seal
from headstart.features.store.check import inspect, verify
from headstart.features.store.layout import read_failures
from headstart.features.store.lock import WriterLock, sweep
from headstart.features.store.opening import opened, seal_of


@dataclass(frozen=True)
class Repair:
    """What `repair` did.

    Attributes:
        dropped: rows left out, by reason.
        notes: what else was lost.
        backup: the damaged file, or the folder; None if nothing needed repair.
    """

    kept: int
    dropped: dict[str, int]
    notes: list[str]
    backup: Path | None


def repair(path: str | os.PathLike[str]) -> Repair:
    """Replace a damaged store by its trustworthy rows; the damaged file is kept beside it.

    Another process reads the file, under limits. The new file is checked and replaces the old one
    in one rename. In a folder, each file is repaired, and the manifest then names what is left.

    Raises:
        StoreError: it is no store, it is being written, or no row can be trusted.
        OutputError: the new file cannot be written; the store is unchanged.
    """
    path = Path(path)
    return _repair_folder(path) if manifest.is_folder(path) else _repair_file(path)


def _repair_folder(folder: Path) -> Repair:
    with closing(WriterLock(folder / manifest.NAME)):
        existing = manifest.read(folder)
        if not verify(folder):
            return Repair(0, {}, [], None)
        dropped: Counter[str] = Counter()
        notes: list[str] = []
        shards = []
        for shard in existing.shards:
            file, name = folder / shard.file, one_line(shard.file)
            try:
                repaired = _repair_file(file)
            except StoreError as error:
                dropped[f"{name} cannot be used"] += shard.rows
                notes.append(one_line(error))
                continue
            dropped.update(repaired.dropped)
            notes += [f"{name}: {note}" for note in repaired.notes]
            shards.append(_described(file, shard))
        if not any(shard.rows for shard in shards):
            raise StoreError(
                f"{one_line(folder)} cannot be repaired: no row of it can be trusted; move it away "
                "and embed the images again"
            )
        manifest.write(folder, dataclasses.replace(existing, shards=tuple(shards)))
        return Repair(sum(shard.rows for shard in shards), dict(dropped), notes, folder)


def _described(file: Path, shard: manifest.Shard) -> manifest.Shard:
    with opened(file) as store:
        failures = sum(1 for _ in read_failures(store))
        rows = len(store["path"])
    return dataclasses.replace(shard, rows=rows, failures=failures, seal=seal.recorded_hash(file))


def _repair_file(path: Path) -> Repair:
    seal_of(path)  # raises if there is no such file
    try:
        with closing(WriterLock(path)):
            sweep(path)
            with suppress(StoreError):
                if not verify(path):
                    return Repair(0, {}, [], None)
            with replacing(path) as partial:
                outcome = sandbox.call("headstart.features.store.recovery:recover", path, partial)
                defects = inspect(partial)
                if defects:
                    raise StoreError(f"{one_line(path)} cannot be repaired: {defects[0]}")
                backup = _keep(path)
            return Repair(**outcome, backup=backup)
    except OSError as error:
        raise cannot_write(path, error) from error


def _keep(path: Path) -> Path:
    for number in range(1, 1_000_000):
        backup = path.with_name(f"{path.name}.damaged" + (f"-{number}" if number > 1 else ""))
        try:
            os.link(path, backup)
        except FileExistsError:
            continue
        except OSError:  # a file system, or a system, without links
            if backup.exists():
                continue
            shutil.copyfile(path, backup)
        return backup
    raise StoreError(f"{one_line(path)} has too many damaged copies beside it; remove some")
