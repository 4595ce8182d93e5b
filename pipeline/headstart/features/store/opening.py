"""Opening a store: its existence, its seal, and HDF5's errors in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

import h5py

from headstart.core.errors import StoreError, one_line
from headstart.features.store import seal
from headstart.features.store.columns import FORMAT
from headstart.features.store.layout import OTHER_VERSION
from headstart.features.store.seal import Seal

_FRONT = 1 << 16  # bytes, in which a store names its format
_OPEN = 8  # files that `OpenFiles` keeps open


class OpenFiles:
    """Store files that are read repeatedly, by number; a few of them stay open."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._open: dict[int, h5py.File] = {}

    def __getitem__(self, number: int) -> h5py.File:
        if number not in self._open:
            if len(self._open) == _OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[number] = open_file(self.paths[number])
        return self._open[number]

    def close(self) -> None:
        """Close all files."""
        for file in self._open.values():
            file.close()
        self._open.clear()


def open_file(path: Path) -> h5py.File:
    """Open a store for reading, without a lock: a published file never changes.

    Some network and cluster file systems have no locks, and HDF5 would refuse files on them.
    """
    return h5py.File(path, "r", locking=False)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a store for reading; HDF5's errors become a `StoreError` of one line."""
    with in_one_line(path), open_file(path) as file:
        yield file


def seal_of(path: Path) -> Seal:
    """Check the seal of a store's file, without HDF5."""
    with in_one_line(path):
        return seal.check(path)


@contextmanager
def in_one_line(path: Path) -> Iterator[None]:
    """Turn the errors of reading a store into a `StoreError` of one line."""
    try:
        if not path.is_file():
            raise StoreError(
                f"no feature store at {one_line(path)}; create one with: headstart features"
            )
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"{one_line(path)} is not a readable feature store: {one_line(error)}; {remedy(path)}"
        ) from error


def remedy(path: Path, defect: str = "") -> str:
    """Return how to go on with a file that cannot be used as a store."""
    if defect.startswith(OTHER_VERSION):
        return "use the version of Headstart that wrote it"
    # Unlike Path.is_dir, os.path.isdir takes a name that is too long.
    if os.path.isdir(path) or looks_like_store(path):  # noqa: PTH112
        return f"save its sound rows with: headstart verify --repair {quote(one_line(path))}"
    return "choose another file, because Headstart did not write this one"


def looks_like_store(path: Path) -> bool:
    """Return whether a file, however damaged, was written as a store."""
    try:
        with path.open("rb") as file:
            return FORMAT.encode() in file.read(_FRONT) or bool(seal.recorded_hash(path))
    except OSError:
        return False
