"""The images to predict, one at a time. Sources are listed in full only where it is necessary.

A name is anything that `headstart.datasets.open_source` accepts, an image file, the URL of an
image, or ``-`` to read names from stdin. A folder yields the images in and below it, folder by
folder in natural order; a CSV or TSV file, those in its column ``path``.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.datasets import registry, storage
from headstart.datasets.bucket import is_remote_image, remote_image
from headstart.datasets.file_names import is_image_name
from headstart.datasets.folder import file_image
from headstart.datasets.registry import Options, Source, SourceImage

STDIN = "-"
_PATIENCE = 0.2  # seconds to wait for a line before yielding None to the caller


def stream(
    names: Sequence[str | os.PathLike[str]], path_column: str = ""
) -> Iterator[SourceImage | None]:
    """Yield the images of all names, see the module; None where the next one may take a while.

    ``path_column`` names the column of tables; empty takes ``path``, ``file`` and the like.

    Raises:
        InputError: a name matches nothing, or a source cannot be read. Files that a list names
            may be missing.
    """
    for path in names:
        name = os.fspath(path)
        if name == STDIN:
            yield from _lines()
        elif source := _source(name):
            yield from source.stream(name, Options(path_column=path_column))
        else:
            yield _image(name)


def check(name: str, path_column: str = "") -> None:
    """Raise an `InputError`, before any image is read, if there is nothing of that name."""
    if name == STDIN:
        return
    source = _source(name)
    if source is not None:
        registry.refuse_columns(source, name, Options(path_column=path_column))


def _source(name: str) -> Source | None:
    """Return the source of a name; None for a single image."""
    if is_remote_image(name) or (is_image_name(name) and os.path.isfile(name)):  # noqa: PTH113
        return None
    source = registry.lookup(name)
    if source is None and (storage.is_url(name) or not os.path.lexists(name)):
        return registry.find(name)  # which raises
    return source


def _image(name: str) -> SourceImage:
    return remote_image(name) if storage.is_url(name) else file_image(Path(name))


def _lines() -> Iterator[SourceImage | None]:
    """Yield the images named on stdin as lines arrive; names need not be UTF-8."""
    handle, rest = sys.stdin.fileno(), b""
    while True:
        # Windows waits for sockets only; there, an image is answered when the next line arrives.
        if sys.platform != "win32" and not select.select([handle], [], [], _PATIENCE)[0]:
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
