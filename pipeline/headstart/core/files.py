"""Writes files atomically, and hashes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart.core.errors import OutputError, one_line

PARTIAL = ".partial"


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
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset`` of an open file, in several calls if necessary."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error for a path that cannot be written."""
    cause = os.strerror(error.errno) if error.errno else one_line(error)
    return OutputError(
        f"cannot write {one_line(path)}: {cause}; fix the problem or choose another location"
    )
