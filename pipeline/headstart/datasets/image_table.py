"""The images of a long listing, in some 10 bytes each: compressed blocks of their paths.

Paths that follow each other in a listing have most of their characters in common, so Deflate packs
them to a tenth. An `ImageRef` is made when it is read; a few blocks at a time are kept unpacked.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from typing import overload

from headstart.core.records import ImageRef, LabelSet

BLOCK = 4096
"""Images of a block; only the last has fewer."""

_UNPACKED = 32  # blocks
_LEVEL = 1  # the fastest
Kind = tuple[str | None, str, LabelSet | None, str]  # label, split, labels and origin


@dataclass(frozen=True)
class ImageTable(Sequence[ImageRef]):
    """Images in the order of their listing.

    Attributes:
        blocks: paths and codes, see `pack`.
        kinds: label, split, labels and origin by code.
        counts: images by code.
    """

    blocks: tuple[bytes, ...]
    kinds: dict[str, Kind]
    counts: dict[str, int]

    @staticmethod
    def of(rows: Iterable[tuple[str, str]], kinds: Sequence[Kind]) -> ImageTable:
        """Return the table of paths with their codes; a code is a number of ``kinds``."""
        rows, blocks, counts = iter(rows), [], Counter[str]()
        while block := list(islice(rows, BLOCK)):
            paths, codes = zip(*block, strict=True)
            counts.update(codes)
            blocks.append(pack([paths, codes]))
        return ImageTable(tuple(blocks), {str(n): kind for n, kind in enumerate(kinds)}, counts)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[ImageRef]:
        for block in self.blocks:
            yield from self._refs(*unpack(block, 2))

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageRef, ...]: ...
    def __getitem__(self, index: int | slice) -> ImageRef | tuple[ImageRef, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError("there is no such image")
        block, place = divmod(number, BLOCK)
        paths, codes = _unpacked(self.blocks[block])
        return ImageRef(paths[place], *self.kinds[codes[place]])

    def _refs(self, paths: Sequence[str], codes: Sequence[str]) -> Iterator[ImageRef]:
        for path, code in zip(paths, codes, strict=True):
            yield ImageRef(path, *self.kinds[code])


def kind_of(image: ImageRef) -> Kind:
    """Return what an image has in common with many others of its listing."""
    return image.label, image.split, image.labels, image.origin


def kinds_of(images: Sequence[ImageRef]) -> Counter[Kind]:
    """Return how many images have each label, split, set of labels and origin."""
    if not isinstance(images, ImageTable):
        return Counter(kind_of(image) for image in images)
    total: Counter[Kind] = Counter()
    for code, kind in images.kinds.items():
        total[kind] += images.counts[code]
    return total


def tally(images: Sequence[ImageRef]) -> Counter[tuple[str | None, str]]:
    """Return how many images have each label and split."""
    total: Counter[tuple[str | None, str]] = Counter()
    for (label, split, *_), number in kinds_of(images).items():
        total[label, split] += number
    return total


def has_sets(images: Sequence[ImageRef]) -> bool:
    """Return whether some images have sets of labels."""
    return any(labels is not None for _, _, labels, _ in kinds_of(images))


def unlabelled_images(images: Sequence[ImageRef]) -> int:
    """Count the images of which no label is known."""
    kinds = kinds_of(images).items()
    return sum(n for (label, _, labels, _), n in kinds if label is None and labels is None)


def without_labels(images: Sequence[ImageRef]) -> Sequence[ImageRef]:
    """Return the same images, whose labels are unknown."""
    if not isinstance(images, ImageTable):
        return tuple(replace(image, label=None, labels=None) for image in images)
    kinds: dict[str, Kind] = {
        code: (None, split, None, origin) for code, (_, split, _, origin) in images.kinds.items()
    }
    return ImageTable(images.blocks, kinds, images.counts)


def pack(columns: Sequence[Sequence[str]]) -> bytes:
    """Return columns of equal length, compressed; no text in them has a NUL."""
    text = "\0".join(chain.from_iterable(columns))
    return zlib.compress(text.encode("utf-8", "surrogatepass"), _LEVEL)


def unpack(packed: bytes, columns: int) -> list[list[str]]:
    """Return what was packed."""
    texts = zlib.decompress(packed).decode("utf-8", "surrogatepass").split("\0")
    length = len(texts) // columns
    return [texts[n * length : (n + 1) * length] for n in range(columns)]


@lru_cache(maxsize=_UNPACKED)
def _unpacked(block: bytes) -> list[list[str]]:
    return unpack(block, 2)
