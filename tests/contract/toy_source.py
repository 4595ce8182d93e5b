"""A kind of image source from outside the package: a text file with one image a line, in base64.

This file and one call of `register` are all that a new kind takes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.core.records import ImageRef, Listing
from headstart.datasets import Container, ContainerReader, storage
from headstart.datasets.listing import make_listing
from headstart.datasets.reader import ContainerFile, Entry


class ToySource(Container):
    name = "toy"
    suffixes = (".toy",)

    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        images, entries, containers = [], {}, []
        for number, (place, title) in enumerate(zip(files, names, strict=True)):
            containers.append(ContainerFile(place, storage.state_of(place)))
            lines = storage.whole_file(place).read().decode().splitlines()
            for row, (path, label, _) in enumerate(line.split(",") for line in lines):
                path = f"{title}/{path}" if len(files) > 1 else path
                images.append(ImageRef(path, label, ""))
                entries[path] = Entry(number, row)
        listing = make_listing(Path(), images, {}, name)
        return replace(listing, reader=ToyReader(entries, tuple(containers)))


@dataclass(frozen=True)
class ToyReader(ContainerReader):
    @staticmethod
    def open(file: ContainerFile) -> OpenToy:
        return OpenToy(file.place)


class OpenToy:
    def __init__(self, place: str) -> None:
        self.lines = storage.whole_file(place).read().decode().splitlines()

    def get(self, entry: Entry) -> bytes:
        return base64.b64decode(self.lines[entry.position].split(",")[2], validate=True)

    def close(self) -> None:
        self.lines.clear()
