"""Writing a feature store: embed into the journal, then publish the whole in one rename."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.files import replacing
from headstart.core.records import Extraction
from headstart.datasets.images import MINIATURE
from headstart.features.store.check import first_defect
from headstart.features.store.hdf5_writer import Block, Failure, Head, write_file
from headstart.features.store.index import HashIndex
from headstart.features.store.journal import HASH_BYTES, KEY_BYTES, Journal, Record
from headstart.features.store.journalled import JournalledWriter
from headstart.features.store.layout import (
    BLOCK,
    Column,
    column,
    read_classes,
    read_failures,
    text,
    texts,
)
from headstart.features.store.opening import opened

_CLAIMED = -(1 << 62)  # in the place of a place: somebody is about to embed this content


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


class StoreWriter(JournalledWriter):
    """The right to write one store, with everything that is already known of its images.

    Work goes on from a store that was published before and from the journal of a run that did
    not end. An image costs it some 150 bytes of memory; features are never all in memory.

    Args:
        path: the store.
        extraction: what determines the features; a store of another one is refused.

    Attributes:
        published_before: rows of the store that was there.
        journalled_before: records in the journal that was there.

    Raises:
        StoreError: another writer is active, or what lies there is damaged, foreign or of
            another extraction.
        OutputError: the place cannot be written.
    """

    def __init__(self, path: Path, extraction: Extraction) -> None:
        self._extraction = extraction
        self._dim = extraction.backbone.dim
        self._contents = HashIndex(HASH_BYTES)
        # By a content's number: its row in the old store, or -1 - its record in the journal.
        self._place = array("q")
        self._states = HashIndex(KEY_BYTES)
        self._content_of = array("q")  # by a state's number: the content's number
        self._knowing = threading.Lock()
        super().__init__(path)

    def _load_journal(self, path: Path) -> None:
        extraction = self._extraction
        self._journal = Journal(path, extraction.to_json(), extraction.digest, self._dim)
        for row, (sha256, key) in enumerate(self._journal.held()):
            self._know(sha256, -1 - row, key)

    def _know(self, sha256: bytes, place: int, key: bytes | None = None) -> None:
        """Remember where the features of a content are, the first time, and a file's state."""
        content = self._contents.add(sha256)
        if content == len(self._place):
            self._place.append(place)
        elif self._place[content] == _CLAIMED:
            self._place[content] = place
        if key is not None:
            state = self._states.add(key)
            if state == len(self._content_of):
                self._content_of.append(content)
            self._content_of[state] = content

    def _load_published(self) -> None:
        defect = first_defect(self._path)
        if defect:
            raise StoreError(
                f"{one_line(self._path)} cannot be continued: {defect}; save what is good with: "
                f"headstart verify --repair, or choose another --out"
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
            for row, (path, sha256, state) in enumerate(_files(file)):
                self._know(sha256, row, state_key(path, state))
            self.published_before = len(file["sha256"])

    def hash_of(self, key: bytes) -> bytes | None:
        """Return the content hash of a file in a known state, so that it need not be read."""
        state = self._states.find(key)
        return None if state < 0 else self._contents[self._content_of[state]]

    def holds(self, sha256: bytes) -> bool:
        """Say whether features of this content are at hand."""
        content = self._contents.find(sha256)
        return content >= 0 and self._place[content] != _CLAIMED

    def claim(self, sha256: bytes) -> bool:
        """Say whether the caller should embed this content: True once, to the first who asks.

        It is False, too, where features are at hand. Threads may call it.
        """
        with self._knowing:
            fresh = self._contents.find(sha256) < 0
            if fresh:
                self._know(sha256, _CLAIMED)
            return fresh

    def append(self, records: Sequence[Record]) -> None:
        """Keep embedded rows: from here on a crash does not lose them. Threads may call it.

        Raises:
            OutputError: they cannot be written.
        """
        with self._appending:
            first = len(self._journal)
            self._journal.append(records)
            with self._knowing:
                for offset, record in enumerate(records):
                    self._know(record.sha256, -1 - (first + offset))

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

        head = Head(self._extraction.to_json(), self._extraction.digest, classes, run, certificate)
        with replacing(self._path) as partial:
            shape = (len(rows), self._dim)
            made = _facts(rows), self._features(rows)
            write_file(partial, head, shape, *made, _stored(failures))
        self._journal.remove()
        return Published(changed=True, rows=len(rows))

    def _says_the_same(
        self, rows: Sequence[Row], failures: Sequence[Failure], classes: Sequence[str]
    ) -> bool:
        if len(rows) != self.published_before:
            return False
        with opened(self._path) as file:
            told = ((failure.path, failure.reason) for failure in _stored(failures))
            held = zip(_files(file), file["label"][:].tolist(), texts(file["split"]), strict=True)
            return (
                read_classes(file) == tuple(classes)
                and all(a == b for a, b in zip_longest(read_failures(file), told))
                and all(
                    (stored_name(row.path), row.sha256, row.state, row.label, row.split)
                    == (*of_file, label, split)
                    for row, (of_file, label, split) in zip(_each(rows), held, strict=True)
                )
            )

    def _features(self, rows: Sequence[Row]) -> Iterator[Block]:
        with self._published() as source:
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                features, pixels = self._gather(source, [row.sha256 for row in block])
                yield {"features": features, "pixels": pixels}

    def _gather(
        self, source: h5py.File | None, hashes: Sequence[bytes]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        features = np.empty((len(hashes), self._dim), np.float32)
        pixels = np.empty((len(hashes), MINIATURE, MINIATURE, 3), np.uint8)
        where = np.array([self._place[self._contents.find(sha256)] for sha256 in hashes])
        fresh, old = np.flatnonzero(where < 0), np.flatnonzero(where >= 0)
        if fresh.size:
            records = self._journal.read([int(-1 - row) for row in where[fresh]])
            features[fresh], pixels[fresh] = records["features"], records["pixels"]
        if old.size and source is not None:
            wanted, back = np.unique(where[old], return_inverse=True)
            features[old] = _take(column(source, "features"), wanted)[back]
            pixels[old] = _take(source["pixels"], wanted)[back]
        return features, pixels


def _take(dataset: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read sorted rows: as one slice where they lie close together, which HDF5 does far faster."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first < 4 * BLOCK:
        return np.asarray(dataset[first : last + 1])[rows - first]
    return np.asarray(dataset[rows])


def _facts(rows: Sequence[Row]) -> Iterator[Block]:
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        hashes = b"".join(row.sha256 for row in block)
        yield {
            "path": np.array([stored_name(row.path) for row in block], object),
            "label": np.array([row.label for row in block], "<i4"),
            "split": np.array([row.split for row in block], object),
            "sha256": np.frombuffer(hashes, "u1").reshape(-1, HASH_BYTES),
            "size": np.array([row.state.size for row in block], "<i8"),
            "mtime_ns": np.array([row.state.mtime_ns for row in block], "<i8"),
        }


def _files(file: h5py.File) -> Iterator[tuple[str, bytes, FileState]]:
    """Yield path, content hash and state of every row's file."""
    path = texts(file["path"])
    for start in range(0, len(file["sha256"]), BLOCK):
        part = slice(start, start + BLOCK)
        sizes, mtimes = file["size"][part].tolist(), file["mtime_ns"][part].tolist()
        for sha256, size, mtime_ns in zip(file["sha256"][part], sizes, mtimes, strict=True):
            yield next(path), sha256.tobytes(), FileState(size, mtime_ns)


def _each(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield rows one by one, taken as `publish` takes them: in blocks."""
    for start in range(0, len(rows), BLOCK):
        yield from rows[start : start + BLOCK]


def _stored(failures: Sequence[Failure]) -> list[Failure]:
    return [failure._replace(path=stored_name(failure.path)) for failure in failures]
