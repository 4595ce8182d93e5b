"""The cache of exported backbones and lists, which may be on a disk that cannot be written."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.errors import OutputError, one_line
from headstart.core.files import make_folder

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory


class CacheWarning(UserWarning):
    """The cache cannot be written, so its files are made again in each run."""


def cached_file(kind: str, name: str) -> Path:
    """Return where a file of the cache is, or where it can be written.

    If the user's cache folder cannot be written, that is in a temporary folder, which is removed
    when the process ends; a `CacheWarning` says so once.
    """
    from platformdirs import user_cache_path  # imported here, because predicting works without it

    home = user_cache_path("headstart")
    path = home / kind / name
    if path.exists():
        return path
    try:
        make_folder(path.parent)
    except OutputError:
        path = Path(_substitute(home).name) / kind / name
        make_folder(path.parent)
    return path


@functools.cache
def _substitute(home: Path) -> TemporaryDirectory[str]:
    """Make the folder that stands for a cache; cached, so it is removed when Python ends."""
    from tempfile import TemporaryDirectory

    folder = TemporaryDirectory(prefix="headstart-cache-")
    warnings.warn(
        f"the cache {one_line(home)} cannot be written, so {folder.name} takes its place for this "
        "run; set XDG_CACHE_HOME to a folder that can be written, or the next run exports its "
        "backbone again",
        CacheWarning,
        stacklevel=3,
    )
    return folder
