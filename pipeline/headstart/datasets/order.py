"""The order of images: numbers in names compare by value, in every locale.

Keys are text that compares like the names they stand for, so that sorting compares bytes. A
listing is sorted here, by merging sorted runs if it is long (Knuth, The Art of Computer
Programming, volume 3, section 5.4).
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

from headstart.core.records import SPLITS, ImageRef
from headstart.datasets.image_table import ImageTable, Kind, kind_of, pack, unpack

RUN = 1 << 18
"""Images that are sorted at once; a listing that is not longer is a tuple in memory."""

_RUN_BLOCK = 1024
# In a key, the end of a folder, a number and a slash sort before every character of a name.
_END, _NUMBER, _SLASH, _ESCAPE = "\1\2\3\4"
_ESCAPED = str.maketrans({mark: _ESCAPE + mark for mark in (_END, _NUMBER, _SLASH, _ESCAPE)})
_DIGITS = re.compile("[0-9]{1,4000}")
_SPLIT_RANK = {split: str(rank) for rank, split in enumerate(SPLITS)}
_Record = tuple[str, ...]  # key, path, and the code of its `Kind`


def natural_key(name: str) -> str:
    """Return a sort key that compares numbers by value, in every locale.

    >>> sorted(["b10", "b9", "a"], key=natural_key)
    ['a', 'b9', 'b10']
    """
    return _DIGITS.sub(_number, name if name.isprintable() else name.translate(_ESCAPED))


def _number(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0")
    return f"{_NUMBER}{chr(len(digits) + 1)}{digits}"


def natural_order(names: Iterable[str]) -> list[str]:
    """Return names in natural order; names with equal numbers are sorted as text.

    >>> natural_order(["b10", "b9", "b09"])
    ['b09', 'b9', 'b10']
    """
    return sorted(names, key=lambda name: (natural_key(name), name))


def in_order(images: Iterable[ImageRef]) -> Sequence[ImageRef]:
    """Return images by split, folder and name, without those that are listed again."""
    images = iter(images)
    chunk = list(islice(images, RUN))
    if len(chunk) < RUN:
        chunk.sort(key=_image_key)
        return tuple(image for n, image in enumerate(chunk) if not n or chunk[n - 1] != image)
    kinds: dict[Kind, str] = {}
    runs = []
    while chunk:
        records = [
            (*_image_key(image), kinds.setdefault(kind_of(image), str(len(kinds))))
            for image in chunk
        ]
        records.sort()
        chunk = []  # not while the next are read
        starts = range(0, len(records), _RUN_BLOCK)
        runs.append([pack(list(zip(*records[n : n + _RUN_BLOCK], strict=True))) for n in starts])
        del records
        chunk = list(islice(images, RUN))
    return ImageTable.of(_distinct(heapq.merge(*map(_read, runs))), list(kinds))


def _read(run: list[bytes]) -> Iterator[_Record]:
    """Yield the records of a run, which is emptied."""
    run.reverse()
    while run:
        yield from zip(*unpack(run.pop(), 3), strict=True)


def _distinct(records: Iterable[_Record]) -> Iterator[tuple[str, str]]:
    """Yield path and code of the records that differ from the one before."""
    before: _Record = ()
    for record in records:
        if record != before:
            yield record[1], record[2]
        before = record


def _image_key(image: ImageRef) -> tuple[str, str]:
    folder, _, file = image.path.rpartition("/")
    # The path itself sorts names that differ only in leading zeros.
    key = f"{_SPLIT_RANK[image.split]}{_folder_key(folder)}{_END}{natural_key(file)}"
    return key, image.path


@lru_cache(maxsize=1 << 14)
def _folder_key(folder: str) -> str:
    # A slash sorts before every character, so "a/x" comes before "a-b/x", as in a file browser.
    return _SLASH.join(map(natural_key, folder.split("/")))
