"""Paths and URLs as users write them."""

from __future__ import annotations

import os
from pathlib import Path

from headstart.core.errors import OutputError, one_line

StrPath = str | os.PathLike[str]


def location(path: StrPath) -> Path | str:
    """Return a local path, or a URL unchanged."""
    from headstart.datasets import storage

    text = os.fspath(path)
    return text if storage.is_url(text) else Path(text)


def output_file(out: StrPath, *inputs: StrPath) -> Path:
    """Return the path of a file to write.

    Raises:
        OutputError: it has the name of an image, or is one of the inputs, which would be lost.
    """
    from headstart.datasets.file_names import is_image_name

    path = Path(out)
    if is_image_name(path.name):
        raise OutputError(f"--out {one_line(path)} has the name of an image; choose another name")
    if any(path.resolve() == Path(source).resolve() for source in inputs):
        raise OutputError(f"--out {one_line(path)} is the input itself; choose another file")
    return path


def output_folder(out: StrPath, data: StrPath) -> Path:
    """Return the path of a folder to write; an `OutputError` if it holds the images."""
    from headstart.datasets import storage

    folder = Path(out)
    if not storage.is_url(os.fspath(data)) and folder.resolve() == Path(data).resolve():
        raise OutputError(f"--out {one_line(folder)} holds the images; choose another folder")
    return folder


def local(path: StrPath) -> Path:
    """Return a local path for reading; for a URL, the path of its local copy.

    Raises:
        StoreError: there is nothing at the URL.
        InputError: the URL cannot be reached.
    """
    from headstart.datasets import mirror

    return mirror.read_here(location(path))
