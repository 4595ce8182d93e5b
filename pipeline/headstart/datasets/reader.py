"""Readers return the bytes of images that are not separate files, such as members of an archive.

Readers are pickled and sent to other processes, so they hold names, not open files. Each process
keeps its open files in one cache.
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
    """Reads images by their paths in the listing; ``entries`` says where each image is."""

    entries: Mapping[str, Any]

    @abstractmethod
    def state(self, path: str) -> State | None:
        """Return the state of an image without reading it; None if it is unknown."""

    @abstractmethod
    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file, and its state; an `ImageError` if that fails."""

    def subset(self, paths: Iterable[str]) -> Self:
        """Return a reader of only these images."""
        return replace(self, entries={path: self.entries[path] for path in paths})


class ContainerFile(NamedTuple):
    """The path or URL of a file that holds images, with its state when it was listed.

    ``part`` is the column or data set with the images, where there are several.
    """

    place: str
    state: State
    part: str = ""


class Entry(NamedTuple):
    """The location of an image: the number of its file, and a row or offset in that file."""

    file: int
    position: int
    size: int = 0


class Handle(Protocol):
    """An open file."""

    def get(self, entry: Entry) -> bytes:
        """Return the bytes of an image, from any thread; any exception marks it as unreadable."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True)
class ContainerReader(Reader):
    """Reads images from files that hold many, if unchanged. Subclasses define `open`."""

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
        """Return the bytes of an image file, and the state of the file that holds it."""
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
    """Closes a handle when the cache has dropped it and no thread uses it any more."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    def __del__(self) -> None:
        self.handle.close()


_cache: OrderedDict[tuple[type[ContainerReader], ContainerFile, int], _Opened] = OrderedDict()
_lock = threading.Lock()
atexit.register(_cache.clear)  # otherwise the interpreter warns of open files


@contextmanager
def _opened(kind: type[ContainerReader], file: ContainerFile) -> Iterator[Handle]:
    """Give the open file; a forked process opens its own, to not share the file position."""
    key = (kind, file, os.getpid())
    with _lock:
        opened = _cache.get(key)
        if opened is None:
            same = storage.state_of(file.place) == file.state
            opened = _Opened(kind.open(file)) if same else None
            # Checked again after opening, in case the file was replaced in between.
            if opened is None or not storage.unchanged(file.place, file.state):
                raise ImageError("its container has changed since it was listed")
            while len(_cache) >= _HANDLES:
                _cache.popitem(last=False)
            _cache[key] = opened
        _cache.move_to_end(key)
    yield opened.handle
