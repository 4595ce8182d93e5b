"""Patterns of file names: ``photos/**/*.jpg``, ``shards/*.tar`` or ``shards/{000..117}.tar``."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import Listing
from headstart.datasets import registry
from headstart.datasets.folder import file_image, stream_containers
from headstart.datasets.layout import NoImages
from headstart.datasets.order import natural_order
from headstart.datasets.registry import Options, Source, SourceImage

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MOST = 1_000_000  # names that the braces of a pattern may expand to


class PatternSource(Source):
    """The files that match a pattern: archives and tables, or (for prediction) images."""

    name = "pattern"

    def matches(self, data: str) -> bool:
        """Tell whether this is a pattern, and not an existing file with such a name."""
        return any(mark in data for mark in "*?[{") and not os.path.lexists(data)

    def list(self, data: str, options: Options) -> Listing:
        """List the images in the archives or tables that match the pattern."""
        files = list(dict.fromkeys(_matches(data, natural=True)))
        folders = [os.path.dirname(place) or "." for place in files]  # noqa: PTH120 - strings
        common = os.path.commonpath(folders)
        return registry.list_containers(
            {os.path.relpath(place, common): place for place in files}, data, options
        )

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images that match the pattern, and the images in archives and tables."""
        empty = True
        for name in _matches(data):
            images = iter([file_image(Path(name))])
            if registry.container_of(name):
                images = stream_containers([name], name)
            with suppress(NoImages):  # one of several shards may have none
                for image in images:
                    empty = False
                    yield image
        if empty:
            raise NoImages(f"no images in {one_line(data)}; check the pattern")


def _matches(data: str, natural: bool = False) -> Iterator[str]:
    empty = True
    for name in _expanded(data):
        if glob.has_magic(name):
            files = glob.iglob(name, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
            for file in natural_order(files) if natural else files:
                if not Path(file).is_dir():
                    empty = False
                    yield file
        elif Path(name).is_file():
            empty = False
            yield name
        else:
            raise InputError(f"{one_line(data)}: there is no {one_line(name)}; check the pattern")
    if empty:
        raise InputError(f"no file matches {one_line(data)}; check the pattern")


def _expanded(data: str) -> Iterator[str]:
    """Expand braces: ``{000..117}`` is a range of numbers, ``{a,b}`` a list of words.

    >>> list(_expanded("{train,val}-{8..10}.tar"))[:4]
    ['train-8.tar', 'train-9.tar', 'train-10.tar', 'val-8.tar']
    """
    pieces = _BRACES.split(data)
    choices: list[list[str]] = []
    total = 1
    for index, piece in enumerate(pieces):
        numbers = _RANGE.fullmatch(piece) if index % 2 else None
        if numbers:
            first, last = int(numbers[1]), int(numbers[2])
            total *= max(last - first + 1, 1)
            if total > _MOST or last < first:
                raise InputError(f"{one_line(data)}: {{{piece}}} is not a range of numbers")
            choices.append([f"{n:0{len(numbers[1])}d}" for n in range(first, last + 1)])
        else:
            choices.append(piece.split(",") if index % 2 else [piece])
    for combination in product(*choices):
        yield "".join(combination)
