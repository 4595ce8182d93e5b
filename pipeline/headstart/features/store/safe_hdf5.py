"""Creating an HDF5 file on a disk that may be full.

HDF5 does not get over a write that fails: it keeps the file open, prints tracebacks, and crashes
the interpreter at exit. So it writes through a Python file that keeps the first error to itself,
drops everything after it, and raises the error when HDF5 has closed the file and is out of the way.
It does so in a thread of its own, where no interrupt is raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py

from headstart.core.files import write_all
from headstart.core.parallel import run_threads


def create(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Create an HDF5 file, replacing what is there, let ``fill`` write into it, and close it.

    An interrupt takes effect when it is closed.

    Raises:
        OSError: the first one that writing met; the file is worth nothing.
    """

    def work(sink: _Sink) -> None:
        try:
            with h5py.File(path, "w", driver="fileobj", fileobj=sink, libver="v108") as file:
                fill(file)
        finally:
            sink.close()

    list(run_threads(work, [_Sink(path)], workers=1))


class _Sink:
    """What h5py asks of a file object, without a way to fail before `close`."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._at = 0
        self._error: OSError | None = None

    def _try(self, change: Callable[[], None]) -> None:
        if self._error is None:
            try:
                change()
            except OSError as error:
                self._error = error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = os.fstat(self._handle).st_size if whence == os.SEEK_END else 0
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        data = os.pread(self._handle, len(buffer), self._at)
        buffer[:] = data.ljust(len(buffer), b"\0")  # what was dropped reads as zeros
        return len(buffer)

    def write(self, data: memoryview) -> int:
        self._try(lambda: write_all(self._handle, data, self._at))
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
