"""Writing a feature store: embed into the journal, then publish the whole in one rename."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StoreError, one_line
from pipeline.files import cannot_write, replacing
from pipeline.images import MINIATURE
from pipeline.records import Extraction
from pipeline.store.journal import KEY_BYTES, Journal, Record
from pipeline.store.lock import WriterLock
from pipeline.store.reader import (
    BLOCK,
    FORMAT,
    VERSION,
    opened,
    read_classes,
    read_failures,
    row_bytes,
    text,
    texts,
)
from pipeline.store.reader import verify as verify_store
from pipeline.store.sink import create

_TEXT = h5py.string_dtype("utf-8")


class FileState(NamedTuple):
    """What tells cheaply that a file is the one that was read before."""

    size: int
    mtime_ns: int


class Row(NamedTuple):
    """One image of the store to be: what the listing says and which content it has."""

    path: str
    label: int
    split: str
    sha256: bytes
    state: FileState


class Failure(NamedTuple):
    """One image that could not be embedded; ``sha256`` is empty if it could not be read."""

    path: str
    reason: str
    sha256: bytes


@dataclass(frozen=True)
class Published:
    """What `StoreWriter.publish` did: whether the file changed, and how many rows it holds."""

    changed: bool
    rows: int


def stored_name(path: str) -> str:
    r"""Return a path as stores keep it: bytes that are not UTF-8 become ``\\xNN``.

    >>> stored_name("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def state_key(path: str, state: FileState) -> bytes:
    """Return 16 bytes that identify a file's name, size and modification time."""
    text = f"{stored_name(path)}\0{state.size}\0{state.mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


class StoreWriter:
    """The right to write one store, with everything that is already known of its images.

    Work goes on from a store that was published before and from the journal of a run that did
    not end. Use as a context manager: leaving it keeps the journal unless `publish` succeeded.

    Args:
        path: the store.
        extraction: what determines the features; a store of another one is refused.

    Raises:
        StoreError: another writer is active, or what lies there is damaged, foreign or of
            another extraction.
        OutputError: the place cannot be written.
    """

    def __init__(self, path: Path, extraction: Extraction) -> None:
        self._path = path
        self._extraction = extraction
        self._dim = extraction.backbone.dim
        self._location: dict[bytes, int] = {}  # row of the old store, or -1 - row of the journal
        self._hash_of: dict[bytes, bytes] = {}  # state key → sha256
        self.published_before = 0
        self._appending = threading.Lock()
        self._lock = WriterLock(path)
        try:
            _sweep(path)
            if path.exists():
                self._load_published()
            journal = path.with_name(path.name + ".journal")
            self._journal = Journal(journal, extraction.to_json(), extraction.digest, self._dim)
            for row, (sha256, key) in enumerate(self._journal.index):
                self._location.setdefault(sha256, -1 - row)
                self._hash_of[key] = sha256
        except BaseException as error:
            self._lock.close()
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise
        self.journalled_before = len(self._journal.index)

    def _load_published(self) -> None:
        defects = verify_store(self._path)
        if defects:
            raise StoreError(
                f"{one_line(self._path)} cannot be continued: {defects[0]}; "
                "move it away or choose another --out"
            )
        with opened(self._path) as file:
            held = json.loads(file.attrs["extraction"])
            if text(file.attrs["digest"]) != self._extraction.digest:
                raise StoreError(
                    f"{one_line(self._path)} holds features of another extraction "
                    f"({one_line(self._extraction.difference(held))}); choose another --out"
                )
            lacking = [name for name in ("pixels", "size", "mtime_ns") if name not in file]
            if lacking:
                raise StoreError(
                    f"{one_line(self._path)} cannot be continued: it has no {lacking[0]}; "
                    "choose another --out"
                )
            hashes = file["sha256"][:]
            for row in range(len(hashes)):
                self._location.setdefault(hashes[row].tobytes(), row)
            states = zip(file["size"][:], file["mtime_ns"][:], strict=True)
            for path, (size, mtime), sha256 in zip(
                texts(file["path"]), states, hashes, strict=True
            ):
                key = state_key(path, FileState(int(size), int(mtime)))
                self._hash_of[key] = sha256.tobytes()
            self.published_before = len(hashes)

    def hash_of(self, key: bytes) -> bytes | None:
        """Return the content hash of a file in a known state, so that it need not be read."""
        return self._hash_of.get(key)

    def holds(self, sha256: bytes) -> bool:
        """Say whether features of this content are at hand."""
        return sha256 in self._location

    def append(self, records: Sequence[Record]) -> None:
        """Keep embedded rows: from here on a crash does not lose them. Threads may call it.

        Raises:
            OutputError: they cannot be written.
        """
        with self._appending:
            first = len(self._journal.index)
            self._journal.append(records)
            for offset, record in enumerate(records):
                self._location.setdefault(record.sha256, -1 - (first + offset))

    def publish(
        self,
        rows: Sequence[Row],
        failures: Sequence[Failure],
        classes: Sequence[str],
        run: dict[str, Any],
        certificate: str = "",
    ) -> Published:
        """Write the store with these rows, in this order, and put it under its final name.

        A store that already says the same is left as it is. On any error the old store is
        untouched and the journal keeps the new rows. This is the last thing a writer does.

        Args:
            rows: each with a ``sha256`` that `holds` knows.
            failures: images that could not be embedded.
            classes: class names; row labels index them.
            run: facts about the run (JSON), kept as attribute ``run``.
            certificate: the backbone's parity certificate, kept as attribute ``certificate``.

        Raises:
            OutputError: it cannot be written.
        """
        if self._path.exists() and self._says_the_same(rows, failures, classes):
            self._journal.remove()
            return Published(changed=False, rows=len(rows))

        def fill(file: h5py.File) -> None:
            self._write_attributes(file, classes, run)
            file.attrs["certificate"] = certificate
            checksums = self._write_rows(file, rows) | _write_failures(file, failures)
            checksums["classes"] = _digest(np.array(classes, object))
            file.attrs["checksums"] = json.dumps(checksums, sort_keys=True)

        with replacing(self._path) as partial:
            create(partial, fill)
        self._journal.remove()
        return Published(changed=True, rows=len(rows))

    def _says_the_same(
        self, rows: Sequence[Row], failures: Sequence[Failure], classes: Sequence[str]
    ) -> bool:
        if len(rows) != self.published_before:
            return False
        with opened(self._path) as file:
            hashes, sizes, mtimes = (file[name][:] for name in ("sha256", "size", "mtime_ns"))
            same = (
                read_classes(file) == tuple(classes)
                and file["label"][:].tolist() == [row.label for row in rows]
                and texts(file["split"]) == [row.split for row in rows]
                and texts(file["path"]) == [stored_name(row.path) for row in rows]
                and read_failures(file) == [(stored_name(f.path), f.reason) for f in failures]
            )
            return same and all(
                hashes[at].tobytes() == row.sha256
                and FileState(int(sizes[at]), int(mtimes[at])) == row.state
                for at, row in enumerate(rows)
            )

    def _write_attributes(
        self, file: h5py.File, classes: Sequence[str], run: dict[str, Any]
    ) -> None:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs.create("classes", list(classes), shape=(len(classes),), dtype=_TEXT)
        file.attrs["extraction"] = json.dumps(self._extraction.to_json(), sort_keys=True)
        file.attrs["digest"] = self._extraction.digest
        file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        file.attrs["software"] = json.dumps(run.get("software", {}), sort_keys=True)
        file.attrs["run"] = json.dumps(run, sort_keys=True)

    def _write_rows(self, file: h5py.File, rows: Sequence[Row]) -> dict[str, str]:
        n = len(rows)
        side = MINIATURE
        columns = {
            "features": file.create_dataset("features", (n, self._dim), "<f4"),
            "pixels": file.create_dataset("pixels", (n, side, side, 3), "u1"),
            "path": file.create_dataset("path", (n,), _TEXT),
            "label": file.create_dataset("label", (n,), "<i4"),
            "split": file.create_dataset("split", (n,), _TEXT),
            "sha256": file.create_dataset("sha256", (n, 32), "u1"),
            "size": file.create_dataset("size", (n,), "<i8"),
            "mtime_ns": file.create_dataset("mtime_ns", (n,), "<i8"),
        }
        sums = {name: hashlib.sha256() for name in columns}
        source = h5py.File(self._path, "r") if self.published_before else None
        try:
            for start in range(0, n, BLOCK):
                block = rows[start : start + BLOCK]
                features, pixels = self._gather(source, [row.sha256 for row in block])
                values: dict[str, NDArray[Any]] = {
                    "features": features,
                    "pixels": pixels,
                    "path": np.array([stored_name(row.path) for row in block], object),
                    "label": np.array([row.label for row in block], "<i4"),
                    "split": np.array([row.split for row in block], object),
                    "sha256": np.frombuffer(b"".join(r.sha256 for r in block), "u1").reshape(
                        -1, 32
                    ),
                    "size": np.array([row.state.size for row in block], "<i8"),
                    "mtime_ns": np.array([row.state.mtime_ns for row in block], "<i8"),
                }
                for name, value in values.items():
                    columns[name][start : start + len(block)] = value
                    sums[name].update(row_bytes(value))
        finally:
            if source is not None:
                source.close()
        return {name: total.hexdigest() for name, total in sums.items()}

    def _gather(
        self, source: h5py.File | None, hashes: Sequence[bytes]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        features = np.empty((len(hashes), self._dim), np.float32)
        pixels = np.empty((len(hashes), MINIATURE, MINIATURE, 3), np.uint8)
        where = np.array([self._location[sha256] for sha256 in hashes])
        fresh, old = np.flatnonzero(where < 0), np.flatnonzero(where >= 0)
        if fresh.size:
            records = self._journal.read([int(-1 - row) for row in where[fresh]])
            features[fresh], pixels[fresh] = records["features"], records["pixels"]
        if old.size and source is not None:
            wanted, back = np.unique(where[old], return_inverse=True)
            features[old] = _take(source["features"], wanted)[back]
            pixels[old] = _take(source["pixels"], wanted)[back]
        return features, pixels

    def close(self) -> None:
        """Give the store back; unpublished rows stay in the journal."""
        try:
            self._journal.close()
        finally:
            self._lock.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _take(dataset: h5py.Dataset, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read sorted rows: as one slice where they lie close together, which HDF5 does far faster."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first < 4 * BLOCK:
        return np.asarray(dataset[first : last + 1])[rows - first]
    return np.asarray(dataset[rows])


def _write_failures(file: h5py.File, failures: Sequence[Failure]) -> dict[str, str]:
    hashes = b"".join(f.sha256.ljust(32, b"\0") for f in failures)
    columns: dict[str, NDArray[Any]] = {
        "path": np.array([stored_name(f.path) for f in failures], object),
        "reason": np.array([f.reason for f in failures], object),
        "sha256": np.frombuffer(hashes, "u1").reshape(-1, 32),
    }
    for name, values in columns.items():
        kind = _TEXT if values.dtype == object else values.dtype
        file.create_dataset(f"failures/{name}", data=values, dtype=kind)
    return {f"failures/{name}": _digest(values) for name, values in columns.items()}


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(row_bytes(values)).hexdigest()


def _sweep(path: Path) -> None:
    """Remove what a killed writer left half written; the lock says that nobody is at it now."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        stale.unlink(missing_ok=True)
