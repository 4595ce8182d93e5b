"""What every writer of a store holds: its lock, its journal, and the file that was there before."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py

from headstart.core.files import cannot_write
from headstart.features.store.journal import Journal
from headstart.features.store.lock import WriterLock, sweep


class JournalledWriter(ABC):
    """The right to write one store; use as a context manager.

    Leaving it keeps the journal, so that the next writer goes on, unless the store was published.

    Args:
        path: the store.

    Attributes:
        published_before: rows of the store that was there.
        journalled_before: records in the journal that was there.

    Raises:
        StoreError: another writer is active, or what lies there cannot be continued.
        OutputError: the place cannot be written.
    """

    _journal: Journal

    def __init__(self, path: Path) -> None:
        self._path = path
        self._appending = threading.Lock()
        self.published_before = 0
        self._lock = WriterLock(path)
        try:
            sweep(path)
            if path.exists():
                self._load_published()
            self._load_journal(path.with_name(path.name + ".journal"))
        except BaseException as error:
            self._lock.close()
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise
        self.journalled_before = len(self._journal)

    @abstractmethod
    def _load_published(self) -> None:
        """Note what the store that is there holds, and in ``published_before`` how much."""

    @abstractmethod
    def _load_journal(self, path: Path) -> None:
        """Open the journal and note what it holds."""

    @contextmanager
    def _published(self) -> Iterator[h5py.File | None]:
        """Open the store that is there, if there is one."""
        if not self.published_before:
            yield None
            return
        with h5py.File(self._path, "r") as file:
            yield file

    def close(self) -> None:
        """Give the store back; unpublished rows stay in the journal."""
        try:
            self._journal.close()
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
