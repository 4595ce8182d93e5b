"""Paths and URLs as users write them."""

from __future__ import annotations

import os
from pathlib import Path

StrPath = str | os.PathLike[str]


def location(path: StrPath) -> Path | str:
    """Return a path of this machine, or a URL as it is."""
    from headstart.datasets import storage

    text = os.fspath(path)
    return text if storage.is_url(text) else Path(text)


def local(path: StrPath) -> Path:
    """Return a path of this machine for reading: of a URL, that of its copy here.

    Raises:
        StoreError: there is nothing behind the URL.
        InputError: the URL cannot be reached.
    """
    from headstart.datasets import mirror

    return mirror.read_here(location(path))
