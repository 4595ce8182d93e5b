"""Reads image files, and refuses paths to anything else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from headstart.core.errors import ImageError, one_line
from headstart.core.files import NO_WAITING, open_handle

MAX_FILE_BYTES = 1 << 30


def read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its state when it was opened.

    Raises:
        ImageError: it is missing, unreadable, too large, not regular, or changes during reading.
    """
    try:
        handle = open_handle(path, os.O_RDONLY | NO_WAITING)
        try:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise ImageError("not a regular file")
            check_size(info.st_size)
            return _read(handle, info.st_size), info
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or one_line(error)
        raise ImageError(f"cannot be read: {cause}") from None


def check_size(size: int) -> None:
    """Raise an `ImageError` for a file of more than `MAX_FILE_BYTES`."""
    if size > MAX_FILE_BYTES:
        raise ImageError(f"the file is larger than {MAX_FILE_BYTES >> 20:,} MiB")


def _read(handle: int, size: int) -> bytes:
    """Read a file of ``size`` bytes, and refuse it if it has another size by now."""
    with os.fdopen(handle, "rb", buffering=0, closefd=False) as file:
        parts = []
        left = size + 1  # an extra byte shows whether the file has grown
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    if left != 1:
        raise ImageError("the file changed while it was read")
    return parts[0] if len(parts) == 1 else b"".join(parts)
