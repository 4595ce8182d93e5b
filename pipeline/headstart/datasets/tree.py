"""Trees of folders with images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from headstart.datasets.image_table import pack, unpack
from headstart.datasets.order import natural_order

Parts = tuple[str, ...]
"""A folder, as the names on the way to it."""

SEVERAL = 2
"""How many folders side by side may be classes."""

_PACKED = 4096  # names


class Names(Collection[str]):
    """The names of the images in a folder, compressed, because a folder may hold millions."""

    def __init__(self, names: Iterable[str]) -> None:
        names, self._blocks, self._length = iter(names), list[bytes](), 0
        while block := list(islice(names, _PACKED)):
            self._blocks.append(pack([block]))
            self._length += len(block)

    def __len__(self) -> int:
        return self._length

    def __contains__(self, name: object) -> bool:
        return any(name == other for other in self)

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            yield from unpack(block, 1)[0]


class Tree:
    """Folders with images, ``images`` by folder, and the folders above them."""

    def __init__(self, folders: Iterable[tuple[Parts, Collection[str]]]) -> None:
        self.images = dict(folders)
        self._below: dict[Parts, set[str]] = {}
        for parts in self.images:
            for depth in range(len(parts), 0, -1):
                names = self._below.setdefault(parts[: depth - 1], set())
                if parts[depth - 1] in names:
                    break
                names.add(parts[depth - 1])

    def below(self, folder: Parts) -> set[str]:
        """Return the names of the subfolders that hold images, directly or further down."""
        return self._below.get(folder, set())

    def holds_classes(self, folder: Parts) -> bool:
        """Tell whether a folder has several subfolders, and no image of its own."""
        return folder not in self.images and len(self.below(folder)) >= SEVERAL

    def repeated(self, folders: Iterable[Parts]) -> list[str]:
        """Return the names that occur in each of several folders that hold nothing but folders."""
        folders = list(folders)
        if len(folders) < SEVERAL or not all(map(self.holds_classes, folders)):
            return []
        shared = set.intersection(*(self.below(folder) for folder in folders))
        return natural_order(shared) if len(shared) >= SEVERAL else []
