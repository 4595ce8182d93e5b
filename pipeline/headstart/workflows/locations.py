"""Paths and URLs as users write them."""

from __future__ import annotations

import os
from pathlib import Path

StrPath = str | os.PathLike[str]


def location(path: StrPath) -> Path | str:
    """Return a local path, or a URL unchanged."""
    from headstart.datasets import storage

    text = os.fspath(path)
    return text if storage.is_url(text) else Path(text)


def local(path: StrPath) -> Path:
    """Return a local path for reading; for a URL, the path of its local copy.

    Raises:
        StoreError: there is nothing at the URL.
        InputError: the URL cannot be reached.
    """
    from headstart.datasets import mirror

    return mirror.read_here(location(path))
