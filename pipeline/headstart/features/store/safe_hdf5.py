"""Creating an HDF5 file on a disk that may be full.

HDF5 does not recover from a failed write: it keeps the file open, prints tracebacks, and crashes
the interpreter at exit. So it writes through a Python file that stores the first error, drops
everything after it, and raises the error once HDF5 has closed the file. It does so in a thread of
its own, where no interrupt is raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py

from headstart.core.files import open_handle, read_at, write_all
from headstart.core.parallel import run_threads


def create(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Create or replace an HDF5 file, let ``fill`` write into it, and close it.

    An interrupt takes effect when it is closed. The first error of writing is raised as `OSError`.
    """

    def work(sink: _Sink) -> None:
        try:
            with h5py.File(path, "w", driver="fileobj", fileobj=sink, libver="v108") as file:
                fill(file)
        finally:
            sink.close()

    list(run_threads(work, [_Sink(path)], workers=1))


class _Sink:
    """The file object that h5py needs; it never fails before `close`."""

    def __init__(self, path: Path) -> None:
        self._handle = open_handle(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self._position = 0
        self._error: OSError | None = None

    def _try(self, change: Callable[[], None]) -> None:
        if self._error is None:
            try:
                change()
            except OSError as error:
                self._error = error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = os.fstat(self._handle).st_size if whence == os.SEEK_END else 0
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        data = read_at(self._handle, len(buffer), self._position)
        buffer[:] = data.ljust(len(buffer), b"\0")  # dropped bytes read as zeros
        return len(buffer)

    def write(self, data: memoryview) -> int:
        self._try(lambda: write_all(self._handle, data, self._position))
        return len(data)

    def truncate(self, size: int) -> int:
        self._try(lambda: os.ftruncate(self._handle, size))
        return size

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def close(self) -> None:
        try:
            os.close(self._handle)
        except OSError as error:
            self._error = self._error or error
        if self._error is not None:
            raise self._error
