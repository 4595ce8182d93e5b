"""Readers: the bytes of images that are not files of their own, such as members of an archive.

Readers are pickled and sent to other processes, so they name files and hold no handles. Open files
are kept in one cache for each process.
"""

from __future__ import annotations

import atexit
import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

from headstart.core.errors import ImageError
from headstart.datasets import storage
from headstart.datasets.images import check_size
from headstart.datasets.storage import State

_HANDLES = 32  # files that a process keeps open


@dataclass(frozen=True)
class Reader(ABC):
    """Reads images by their paths in the listing.

    Attributes:
        entries: where each image is, by path.
    """

    entries: Mapping[str, Any]

    @abstractmethod
    def state(self, path: str) -> State | None:
        """Return the state of an image without reading it; None if it is unknown."""

    @abstractmethod
    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file, and its state.

        Raises:
            ImageError: it cannot be read.
        """

    def subset(self, paths: Iterable[str]) -> Self:
        """Return a reader of these images alone."""
        return replace(self, entries={path: self.entries[path] for path in paths})


class ContainerFile(NamedTuple):
    """A file that holds images, in the state in which it was listed.

    Attributes:
        place: its path or URL.
        state: what its images' states are compared with.
        part: its column or data set with the images, where it has several.
    """

    place: str
    state: State
    part: str = ""


class Entry(NamedTuple):
    """Where an image is: the number of its file, and its position (a row, an offset) in there."""

    file: int
    position: int
    size: int = 0


class Handle(Protocol):
    """An open file."""

    def get(self, entry: Entry) -> bytes:
        """Return the bytes of an image; any exception means that it cannot be read."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True)
class ContainerReader(Reader):
    """Reads images from files that hold many; a file that has changed is refused.

    Subclasses define `open`. `Handle.get` is called from several threads at once.
    """

    entries: Mapping[str, Entry]
    files: tuple[ContainerFile, ...]

    @staticmethod
    @abstractmethod
    def open(file: ContainerFile) -> Handle:
        """Open a file."""

    def state(self, path: str) -> State | None:
        """Return the state of an image's file; None if it has changed."""
        file = self.files[self.entries[path].file]
        return file.state if storage.unchanged(file.place, file.state) else None

    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file.

        Raises:
            ImageError: it cannot be read, or its file has changed since it was listed.
        """
        entry = self.entries[path]
        file = self.files[entry.file]
        check_size(entry.size)
        try:
            with _opened(type(self), file) as handle:
                data = handle.get(entry)
        except ImageError:
            raise
        except Exception as error:  # damage shows as nearly any exception
            raise storage.cannot_read(error) from None
        check_size(len(data))
        return data, file.state


class _Opened:
    """A handle that is closed once no thread reads from it and the cache has dropped it."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    def __del__(self) -> None:
        self.handle.close()


_cache: OrderedDict[tuple[type[ContainerReader], ContainerFile, int], _Opened] = OrderedDict()
_lock = threading.Lock()
atexit.register(_cache.clear)  # otherwise the interpreter warns of open files


@contextmanager
def _opened(kind: type[ContainerReader], file: ContainerFile) -> Iterator[Handle]:
    """Give the open file; a forked process opens its own, since it would share the position."""
    key = (kind, file, os.getpid())
    with _lock:
        opened = _cache.get(key)
        if opened is None:
            same = storage.state_of(file.place) == file.state
            opened = _Opened(kind.open(file)) if same else None
            # Asked again once it is open: what replaces the file from now on is not read.
            if opened is None or not storage.unchanged(file.place, file.state):
                raise ImageError("its container has changed since it was listed")
            while len(_cache) >= _HANDLES:
                _cache.popitem(last=False)
            _cache[key] = opened
        _cache.move_to_end(key)
    yield opened.handle
