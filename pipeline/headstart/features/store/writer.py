"""Writing a feature store: append to the journal, then publish the whole in one rename."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.records import Extraction
from headstart.core.targets import SINGLE_LABEL
from headstart.features.store import columns, layout, manifest
from headstart.features.store.check import first_defect
from headstart.features.store.columns import (
    HASH_BYTES,
    Block,
    Failure,
    FileState,
    Row,
    stored_name,
)
from headstart.features.store.hdf5_writer import Head, write_file
from headstart.features.store.index import HashIndex
from headstart.features.store.journal import KEY_BYTES, Journal, journal_of, journalled_extraction
from headstart.features.store.journalled import CLAIMED, JournalledWriter
from headstart.features.store.opening import opened, remedy


def state_key(path: str, state: FileState) -> bytes:
    """Return 16 bytes that identify a file's name, size and modification time."""
    text = f"{stored_name(path)}\0{state.size}\0{state.mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def stored_extraction(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the extraction that a writer of this store would continue with, or None.

    A damaged one counts as none: `StoreWriter` reports what is wrong with it.
    """
    path = Path(path)
    try:
        if manifest.is_folder(path):
            name = manifest.NAME if (path / manifest.NAME).exists() else manifest.PLAN
            return manifest.read(path, name).extraction
        if not path.exists():
            return journalled_extraction(journal_of(path))
        if first_defect(path):
            return None
        with opened(path) as file:
            return layout.document(file, "extraction")
    except (OSError, StoreError, ValueError, KeyError, TypeError):
        return None


class StoreWriter(JournalledWriter):
    """The right to write one store, with everything that is already known about its images.

    It continues from a published store and from the journal of an interrupted run. An image takes
    some 150 bytes of memory; features are never all in memory. It refuses a store whose
    ``extraction``, which is what determines the features, is another one.

    Raises:
        StoreError: another writer is active, or the existing store is damaged, no store, or of a
            different backbone.
        OutputError: the location cannot be written.
    """

    def __init__(self, path: Path, extraction: Extraction) -> None:
        self._extraction = extraction
        self._dim = extraction.backbone.dim
        self._states = HashIndex(KEY_BYTES)
        self._content_of = array("q")  # content number by state number
        super().__init__(path, HASH_BYTES)

    def _open_journal(self, path: Path) -> Journal:
        extraction, table = self._extraction, columns.from_image()
        fields = [(c.name, c.dtype, c.shape(1, self._dim)[1:]) for c in table]
        return Journal(path, extraction.to_json(), extraction.digest, fields)

    def _remember(self, content: bytes, place: int, key: bytes = b"") -> int:
        number = super()._remember(content, place)
        if key:
            state = self._states.add(key)
            if state == len(self._content_of):
                self._content_of.append(number)
            self._content_of[state] = number
        return number

    def _load_published(self) -> None:
        defect = first_defect(self._path)
        if defect:
            raise StoreError(
                f"{one_line(self._path)} cannot be continued: {defect}; "
                f"{remedy(self._path, defect)}, or choose another --out"
            )
        with opened(self._path) as file:
            if layout.text(file.attrs["digest"]) != self._extraction.digest:
                difference = self._extraction.difference(layout.document(file, "extraction"))
                raise StoreError(
                    f"{one_line(self._path)} holds features of a different backbone or "
                    f"preprocessing ({one_line(difference)}); choose another --out"
                )
            missing = [name for name in _needed(file) if name not in file]
            if missing:
                raise StoreError(
                    f"{one_line(self._path)} cannot be continued: it has no {missing[0]}; "
                    "choose another --out"
                )
            for row, (path, sha256, state) in enumerate(stored_files(file)):
                self._remember(sha256, row, state_key(path, state))
            self.published_before = len(file["sha256"])

    def hash_of(self, key: bytes) -> bytes | None:
        """Return the content hash of a file in a known state, so that it need not be read."""
        state = self._states.find(key)
        return None if state < 0 else self._contents[self._content_of[state]]

    def claim(self, sha256: bytes) -> bool:
        """Return whether the caller should embed this content: True once, to the first who asks.

        It is False if features are already stored. Threads may call it.
        """
        with self._indexing:
            fresh = self._contents.find(sha256) < 0
            if fresh:
                self._remember(sha256, CLAIMED)
            return fresh

    def publish(
        self,
        rows: Sequence[Row],
        failures: Sequence[Failure],
        classes: Sequence[str],
        run: dict[str, Any],
        certificate: str = "",
        target: str = SINGLE_LABEL,
    ) -> bool:
        """Write the store with these rows, in this order, under its final name; call it last.

        Returns whether the file changed: an equal store is not written again. On an error the old
        store is untouched and the journal keeps the new rows. `holds` must know each row's
        ``sha256``, and row labels index ``classes``. ``run`` (JSON) and ``certificate`` (the
        backbone's parity certificate) become attributes, like ``target``, what is predicted.

        Raises:
            OutputError: the store cannot be written.
        """
        extraction = self._extraction
        origins = any(row.origin for row in rows)
        head = Head(
            extraction.to_json(), extraction.digest, classes, run, certificate, target, origins
        )
        if self._path.exists() and self._is_current(rows, failures, head):
            self._journal.remove()
            return False
        listed = (
            columns.rows_block(block, head.target, head.version) for block in _in_blocks(rows)
        )
        passes = listed, self._image_blocks(rows)
        with self._replacing() as partial:
            write_file(partial, head, (len(rows), self._dim), passes, failures)
        return True

    def _is_current(self, rows: Sequence[Row], failures: Sequence[Failure], head: Head) -> bool:
        if len(rows) != self.published_before:
            return False
        with opened(self._path) as file:
            failed = ((stored_name(failure.path), failure.reason) for failure in failures)
            labels, splits = file["label"][:].tolist(), layout.texts(file["split"])
            return (
                layout.file_version(file) == head.version
                and layout.read_target(file) == head.target
                and layout.read_classes(file) == tuple(head.classes)
                and all(a == b for a, b in zip_longest(layout.read_failures(file), failed))
                and _same_labels(file, rows)
                and _same_origins(file, rows)
                and all(
                    (stored_name(row.path), row.sha256, row.state, row.label, row.split)
                    == (*stored, label, split)
                    for row, (stored, label, split) in zip(
                        chain.from_iterable(_in_blocks(rows)),
                        zip(stored_files(file), labels, splits, strict=True),
                        strict=True,
                    )
                )
            )

    def _image_blocks(self, rows: Sequence[Row]) -> Iterator[Block]:
        with self._published() as source:
            for block in _in_blocks(rows):
                yield self._gather(source, [row.sha256 for row in block], 4 * layout.BLOCK)

    def _stored(
        self, source: h5py.File, name: str, rows: NDArray[np.int64], span: int
    ) -> NDArray[Any]:
        if name not in source:  # a store of a version before this column
            return next(c for c in columns.TABLE if c.name == name).unknown(len(rows))
        return super()._stored(source, name, rows, span)


def _needed(file: h5py.File) -> Iterator[str]:
    present = columns.of_version(layout.file_version(file), layout.read_target(file))
    for column in columns.TABLE:
        if column in present or column.default is None:
            yield column.name


def _same_labels(file: h5py.File, rows: Sequence[Row]) -> bool:
    """Return whether the rows have the sets of labels that a file of as many rows has, if any."""
    if columns.LABELS not in file:
        return True
    stored = layout.blocks(file[columns.LABELS])
    return all(
        b"".join(row.labels for row in block) == part.tobytes()
        for block, part in zip(_in_blocks(rows), stored, strict=True)
    )


def _same_origins(file: h5py.File, rows: Sequence[Row]) -> bool:
    if columns.ORIGIN not in file:
        return not any(row.origin for row in rows)
    stored = layout.texts(file[columns.ORIGIN])
    return all(row.origin == origin for row, origin in zip(rows, stored, strict=True))


def _in_blocks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), layout.BLOCK):
        yield rows[start : start + layout.BLOCK]


def stored_files(file: h5py.File) -> Iterator[tuple[str, bytes, FileState]]:
    """Yield each row's path, content hash, and the state that its file had."""
    path = layout.texts(file["path"])
    for start in range(0, len(file["sha256"]), layout.BLOCK):
        part = slice(start, start + layout.BLOCK)
        sizes, mtimes = file["size"][part].tolist(), file["mtime_ns"][part].tolist()
        for sha256, size, mtime_ns in zip(file["sha256"][part], sizes, mtimes, strict=True):
            yield next(path), sha256.tobytes(), FileState(size, mtime_ns)
