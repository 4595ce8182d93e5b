"""Activation stores: what the frozen part of a network gives for every view of every image.

One row a view, ``float16``, in one HDF5 file with the guarantees of a feature store: one writer at
a time, a journal, one rename, and a seal. Each row is a chunk of its own, because training reads
rows in random order.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.records import digest_of
from headstart.features.store.columns import HASH_BYTES
from headstart.features.store.journal import KEY_BYTES, Journal, Record
from headstart.features.store.journalled import JournalledWriter
from headstart.features.store.layout import text
from headstart.features.store.opening import opened, seal_of
from headstart.features.store.safe_hdf5 import create
from headstart.features.store.seal import Seal, seal

FORMAT = "headstart-activations"
VERSION = 1
CHUNK_BYTES = 1 << 16  # of a chunk that small rows share
_BLOCK_BYTES = 1 << 25  # of rows held in memory at once
ROWS = "activations"


class View(NamedTuple):
    """One view of one image: the SHA-256 of its file, and the view's number; 0 is the plain one."""

    sha256: bytes
    number: int

    @property
    def key(self) -> bytes:
        """The journal's key of it."""
        return self.number.to_bytes(KEY_BYTES, "little")

    def record(self, activation: NDArray[np.float16]) -> Record:
        """Return what the journal keeps of its ``(d,)`` activation."""
        return Record(self.sha256, self.key, {ROWS: activation})

    @property
    def content(self) -> bytes:
        """What identifies it among all views of all images."""
        return self.sha256 + self.key


class ActivationWriter(JournalledWriter):
    """The right to write one activation store; see `JournalledWriter`.

    ``document`` (JSON, with ``backbone``) determines the activations; its hash is the store's
    digest. ``dim`` is the length of a row.
    """

    def __init__(self, path: Path, document: dict[str, Any], dim: int) -> None:
        self._document, self._dim = document, dim
        self._digest = digest_of(document)
        super().__init__(path, HASH_BYTES + KEY_BYTES)

    def _open_journal(self, path: Path) -> Journal:
        fields = [(ROWS, np.dtype("<f2"), (self._dim,))]
        return Journal(path, self._document, self._digest, fields)

    def _load_published(self) -> None:
        with opened_activations(self._path) as file:
            if text(file.attrs["digest"]) != self._digest:
                raise StoreError(
                    f"{one_line(self._path)} holds activations of a different network, boundary "
                    "or set of views; delete it, or choose another --out"
                )
            for row, view in enumerate(_views(file)):
                self._remember(view.content, row)
                self.published_before = row + 1

    def publish(self, views: Sequence[View]) -> None:
        """Write the store with these rows, in this order, under its final name.

        On an error the old store and the journal stay. `holds` must know each view.
        """
        places = [self._places[self._contents.find(view.content)] for view in views]
        if self.published_before == len(views) and places == list(range(len(views))):
            self._journal.remove()
            return
        with self._replacing() as partial:
            create(partial, lambda file: self._fill(file, views))
            seal(partial)

    def _fill(self, file: h5py.File, views: Sequence[View]) -> None:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["document"] = json.dumps(self._document, sort_keys=True)
        file.attrs["digest"] = self._digest
        n, size = len(views), 2 * self._dim
        hashes = b"".join(view.sha256 for view in views)
        file["sha256"] = np.frombuffer(hashes, np.uint8).reshape(n, HASH_BYTES)
        file["view"] = np.array([view.number for view in views], "<i4")
        chunk = (max(1, min(n, CHUNK_BYTES // size)), self._dim)
        rows = file.create_dataset(ROWS, (n, self._dim), "<f2", chunks=chunk)
        checks = np.zeros(n, "<u4")
        step = max(1, _BLOCK_BYTES // size)
        with self._published() as source:
            for start in range(0, n, step):
                contents = [view.content for view in views[start : start + step]]
                block = self._gather(source, contents, step)[ROWS]
                rows[start : start + len(block)] = block
                checks[start : start + len(block)] = [zlib.crc32(row.tobytes()) for row in block]
        file["checks"] = checks


class ActivationReader:
    """A published activation store, open for reading rows in any order."""

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        file = self._stack.enter_context(opened_activations(path))
        self._rows = file[ROWS]
        self.index = {view: row for row, view in enumerate(_views(file))}
        self.dim = int(self._rows.shape[1])

    def read(self, rows: Iterable[int]) -> NDArray[np.float16]:
        """Return rows by number, ``(n, dim) float16``, in the order given."""
        numbers = list(rows)
        out = np.empty((len(numbers), self.dim), np.float16)
        for index in np.argsort(numbers, kind="stable").tolist():  # in the order of the disk
            self._rows.read_direct(out, np.s_[numbers[index]], np.s_[index])
        return out

    def close(self) -> None:
        """Close the file."""
        self._stack.close()


@contextmanager
def opened_activations(path: Path) -> Iterator[h5py.File]:
    """Open an activation store, which must be intact: a damaged one is cheap to make again.

    Raises:
        StoreError: it is missing, damaged, or no activation store.
    """
    if seal_of(path) is not Seal.WHOLE:
        raise StoreError(
            f"{one_line(path)} is damaged or no activation store; delete it, the same command "
            "makes a new one"
        )
    with opened(path) as file:
        if (text(file.attrs.get("format")), file.attrs.get("version")) != (FORMAT, VERSION):
            raise StoreError(
                f"{one_line(path)} is not an activation store of this version; delete it, or "
                "choose another --out"
            )
        yield file


def _views(file: h5py.File) -> Iterator[View]:
    hashes, numbers = file["sha256"][:], file["view"][:].tolist()
    for sha256, number in zip(hashes, numbers, strict=True):
        yield View(sha256.tobytes(), number)
