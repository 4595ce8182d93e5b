"""Opening a store: it is there, what its seal says, and HDF5's complaints in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from headstart.core.errors import StoreError, one_line
from headstart.features.store import seal
from headstart.features.store.seal import Seal


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a store for reading; what HDF5 says of a damaged file becomes one line.

    Raises:
        StoreError: it is missing, is no HDF5 file, or reading fails on the way.
    """
    with in_one_line(path), h5py.File(path, "r") as file:
        yield file


def seal_of(path: Path) -> Seal:
    """Return what the seal says of a store's file; HDF5 is not asked.

    Raises:
        StoreError: there is no such file, or it cannot be read.
    """
    with in_one_line(path):
        return seal.check(path)


@contextmanager
def in_one_line(path: Path) -> Iterator[None]:
    """Make one line of what HDF5 says while a store is read."""
    try:
        if not path.is_file():
            raise StoreError(
                f"no feature store at {one_line(path)}; make one with: headstart features"
            )
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"{one_line(path)} is no readable feature store: {one_line(error)}"
        ) from error
