"""What all writers of a store share: a lock, a journal, and the location of each row's values."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.files import cannot_write, replacing
from headstart.features.store.index import HashIndex
from headstart.features.store.journal import Journal, Record, journal_of
from headstart.features.store.layout import Dataset, column
from headstart.features.store.lock import WriterLock, sweep
from headstart.features.store.opening import open_file

CLAIMED = -(1 << 62)  # instead of a location: a thread is about to compute this content


class JournalledWriter(ABC):
    """The right to write one store; use it as a context manager.

    Leaving it keeps the journal, so that the next writer continues, unless the store was published.

    Args:
        path: the store.
        width: bytes of a record's hash and key that identify a content.

    Attributes:
        published_before: rows of the store that already exists.
        journalled_before: records in the journal of an earlier run.

    Raises:
        StoreError: another writer is active, or the existing store cannot be continued.
        OutputError: the location cannot be written.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._path, self._width = path, width
        self._contents = HashIndex(width)
        # By content number: the row in the old store, or -1 - the record in the journal.
        self._places = array("q")
        self._indexing, self._appending = threading.Lock(), threading.Lock()
        self.published_before = 0
        self._lock = WriterLock(path)
        try:
            sweep(path)
            if path.exists():
                self._load_published()
            self._journal = self._open_journal(journal_of(path))
        except BaseException as error:
            self._lock.close()
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise
        self.journalled_before = len(self._journal)
        for row, (sha256, key) in enumerate(self._journal.recovered()):
            self._remember((sha256 + key)[:width], -1 - row, key)

    @abstractmethod
    def _load_published(self) -> None:
        """Record the contents of the existing store, and their number in ``published_before``."""

    @abstractmethod
    def _open_journal(self, path: Path) -> Journal:
        """Open the journal."""

    def _remember(self, content: bytes, place: int, key: bytes = b"") -> int:
        """Record where a content's values are, the first time; return its number."""
        number = self._contents.add(content)
        if number == len(self._places):
            self._places.append(place)
        elif self._places[number] == CLAIMED:
            self._places[number] = place
        return number

    def holds(self, content: bytes) -> bool:
        """Return whether values of this content are stored."""
        number = self._contents.find(content)
        return number >= 0 and self._places[number] != CLAIMED

    def append(self, records: Sequence[Record]) -> None:
        """Keep computed values: a crash no longer loses them. Threads may call it."""
        with self._appending:
            first = len(self._journal)
            self._journal.append(records)
            with self._indexing:
                for number, record in enumerate(records, first):
                    self._remember((record.sha256 + record.key)[: self._width], -1 - number)

    def _gather(
        self, source: h5py.File | None, contents: Sequence[bytes], span: int
    ) -> dict[str, NDArray[Any]]:
        """Return the journalled columns of contents, from the journal and the old store.

        If the rows of the old store span no more than ``span``, they are read as one slice.
        """
        numbers = map(self._contents.find, contents)
        places = np.array([self._places[number] for number in numbers], np.int64)
        fresh, old = np.flatnonzero(places < 0), np.flatnonzero(places >= 0)
        records = self._journal.read((-1 - places[fresh]).tolist())
        block = {}
        for name in self._journal.names:
            block[name] = np.empty((len(places), *records[name].shape[1:]), records[name].dtype)
            block[name][fresh] = records[name]
        if old.size and source is not None:
            rows, back = np.unique(places[old], return_inverse=True)
            for name, values in block.items():
                values[old] = self._stored(source, name, rows, span)[back]
        return block

    def _stored(
        self, source: h5py.File, name: str, rows: NDArray[np.int64], span: int
    ) -> NDArray[Any]:
        return _take(column(source, name), rows, span)

    @contextmanager
    def _published(self) -> Iterator[h5py.File | None]:
        if not self.published_before:
            yield None
            return
        with open_file(self._path) as file:
            yield file

    @contextmanager
    def _replacing(self) -> Iterator[Path]:
        with replacing(self._path) as partial:
            yield partial
        self._journal.remove()

    def close(self) -> None:
        """Release the store; unpublished rows stay in the journal."""
        try:
            self._journal.close()
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take(dataset: Dataset, rows: NDArray[np.int64], span: int) -> NDArray[Any]:
    """Read sorted rows, as one slice if they are close together: HDF5 does that far faster."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first < span:
        return np.asarray(dataset[first : last + 1])[rows - first]
    return np.asarray(dataset[rows])
