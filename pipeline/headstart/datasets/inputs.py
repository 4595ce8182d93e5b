"""Images to predict, one after the other: a source is listed as a whole only where it must be.

A name is whatever `headstart.datasets.open_source` takes, an image file, the URL of an image, or
``-`` for the lines on stdin. A folder stands for the images in it and below it, in natural order
folder by folder; a CSV or TSV file for its column ``path``; a pattern for the files it matches.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.datasets import registry, storage
from headstart.datasets.bucket import is_remote_image, remote_image
from headstart.datasets.folder import file_image, is_image_name
from headstart.datasets.registry import Options, Source, SourceImage

STDIN = "-"
_PATIENCE = 0.2  # seconds without a line, after which the caller is not kept waiting


def stream(names: Sequence[str | os.PathLike[str]]) -> Iterator[SourceImage | None]:
    """Yield every image that the names stand for; None where the next one may take a while.

    Args:
        names: see the module.

    Raises:
        InputError: a name stands for nothing, or a source cannot be read. Files in a list may be
            missing.
    """
    for path in names:
        name = os.fspath(path)
        if name == STDIN:
            yield from _lines()
        elif source := _source(name):
            yield from source.stream(name, Options())
        else:
            yield _image(name)


def check(name: str) -> None:
    """Refuse a name that stands for nothing, before any image is read.

    Raises:
        InputError: there is nothing of that name.
    """
    if name != STDIN:
        _source(name)


def _source(name: str) -> Source | None:
    """Return the kind of source of a name; None if it is a single image."""
    if is_remote_image(name) or (is_image_name(name) and os.path.isfile(name)):  # noqa: PTH113
        return None
    source = registry.lookup(name)
    if source is None and (storage.is_url(name) or not os.path.lexists(name)):
        return registry.find(name)  # which raises
    return source


def _image(name: str) -> SourceImage:
    return remote_image(name) if storage.is_url(name) else file_image(Path(name))


def _lines() -> Iterator[SourceImage | None]:
    """Yield the images on stdin as they come; bytes that are not UTF-8 are kept."""
    handle, rest = sys.stdin.fileno(), b""
    while True:
        if not select.select([handle], [], [], _PATIENCE)[0]:
            yield None
            continue
        data = os.read(handle, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        yield from (_image(os.fsdecode(line)) for line in map(_stripped, lines) if line)
        yield None
    if _stripped(rest):
        yield _image(os.fsdecode(_stripped(rest)))


def _stripped(line: bytes) -> bytes:
    return line.removesuffix(b"\r")
