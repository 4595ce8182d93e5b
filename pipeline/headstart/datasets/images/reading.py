"""Files to bytes, whatever kind of file the path leads to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from headstart.core.errors import ImageError, one_line

MAX_FILE_BYTES = 1 << 30


def read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a regular file whole, with its state when it was opened.

    Raises:
        ImageError: it is missing, unreadable, too large, no regular file, or written to meanwhile.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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
    """Refuse a file that is too large to be read whole.

    Raises:
        ImageError: it is.
    """
    if size > MAX_FILE_BYTES:
        raise ImageError(f"the file is larger than {MAX_FILE_BYTES >> 20:,} MiB")


def _read(handle: int, size: int) -> bytes:
    """Read what the file held when it was opened; one that still grows is not read for ever."""
    with os.fdopen(handle, "rb", buffering=0, closefd=False) as file:
        parts = []
        left = size + 1  # one byte more, to see whether it has grown
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    if left != 1:
        raise ImageError("the file changed while it was read")
    return parts[0] if len(parts) == 1 else b"".join(parts)
