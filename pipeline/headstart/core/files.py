"""Writes files atomically, locks and hashes them, with what differs between operating systems."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart.core.errors import OutputError, one_line

PARTIAL = ".partial"

# Windows has neither, and changes the ends of lines unless a file is binary.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # opening a FIFO would wait for a writer forever
_LOCKED = (
    1 << 40
)  # offset of the byte that is locked on Windows, where locks keep others from reading
_SEEKING = threading.Lock()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write, which replaces ``path`` on success and is removed on error.

    The file is flushed to disk before the rename, and the folder after it. So neither a crash nor a
    power cut leaves a damaged file at ``path``.

    Raises:
        OutputError: the file cannot be written.
    """
    partial = path.parent / f".{path.name}.{os.getpid()}{PARTIAL}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # it may not exist
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with `replacing`; lone surrogates are escaped."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def make_folder(path: Path) -> None:
    """Make a folder; an `OutputError`, before any long work, if it is not writable."""
    from tempfile import TemporaryFile

    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to disk; Windows has no way to flush a folder."""
    if sys.platform == "win32":
        if path.is_dir():
            return
        handle = open_handle(path, os.O_RDWR)
    else:
        handle = open_handle(path)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_handle(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Open a file of bytes that child processes do not inherit; return its descriptor."""
    return os.open(path, flags | _FLAGS, 0o644)


def read_at(handle: int, size: int, offset: int) -> bytes:
    """Return up to ``size`` bytes from ``offset`` of an open file; threads may share it."""
    if hasattr(os, "pread"):
        return os.pread(handle, size, offset)
    with _SEEKING:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, size)


def write_all(handle: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset`` of an open file, in several calls if necessary."""
    view = memoryview(data)
    while view:
        written = _write_at(handle, view, offset)
        view, offset = view[written:], offset + written


def _write_at(handle: int, data: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(handle, data, offset)
    with _SEEKING:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.write(handle, data)


def lock(handle: int) -> None:
    """Take the lock of an open file, which the system releases when its process ends.

    Raises:
        BlockingIOError: another process has it.
        OSError: with ``ENOSYS``, this system has no locks; other errors are the file system's.
    """
    try:
        import fcntl
    except ImportError:
        _lock_a_byte(handle)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_a_byte(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _LOCKED, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, "locked") from error
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error for a path that cannot be written."""
    cause = os.strerror(error.errno) if error.errno else one_line(error)
    return OutputError(
        f"cannot write {one_line(path)}: {cause}; fix the problem or choose another location"
    )
