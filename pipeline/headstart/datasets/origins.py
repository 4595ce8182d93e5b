"""What a listing was read from, to see later whether it still holds without reading it again.

Adding, removing or renaming a file changes the times of its folder. What changed just before it was
read counts as unknown: it may change again within one tick of a file system's clock.
"""

from __future__ import annotations

import os
import time

from headstart.core.records import Listing

_TICK = 2_000_000_000  # ns, of the coarsest file system


class Origins(dict[str, tuple[int, ...]]):
    """The state of each file or folder that is read, by path."""

    def note(self, path: str | os.PathLike[str], status: os.stat_result) -> None:
        """Keep the state of a path, which is about to be read."""
        old = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _TICK
        self[os.fspath(path)] = _state(status) if old else ()


def unchanged(listing: Listing) -> bool:
    """Tell whether the source would be listed as before; False if that is not certain."""
    try:
        return bool(listing.origins) and all(
            state == _state(os.stat(path))  # noqa: PTH116 - of many, and Path costs time
            for path, state in listing.origins.items()
        )
    except OSError:
        return False


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
