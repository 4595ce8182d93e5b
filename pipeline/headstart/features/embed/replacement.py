"""Which rows of a store a run would drop, because their images are not in the source any more."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from headstart import datasets
from headstart.core.errors import ImageError, InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets.images import header
from headstart.features.store.columns import HASH_BYTES, FileState
from headstart.features.store.index import HashIndex
from headstart.features.store.journal import KEY_BYTES
from headstart.features.store.opening import opened
from headstart.features.store.writer import state_key, stored_files

_LOOKED_INTO = 100  # new images, before a run is refused
_SHARE = 2  # a run that misses one row in so many, or more, needs the user's leave


class StoredRows:
    """The rows of a store before a run, by content, and which of them the source has again.

    ``files`` are the store's files, which are known to be sound.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._contents, self._states = HashIndex(HASH_BYTES), HashIndex(KEY_BYTES)
        self._content_of = array("q")  # by number of a state
        self._rows, self._met = array("q"), bytearray()  # by number of a content
        self._sizes: set[int] = set()
        for path, sha256, state in _rows_of(files):
            content = self._contents.add(sha256)
            if content == len(self._rows):
                self._rows.append(0)
            self._rows[content] += 1
            if self._states.add(state_key(path, state)) == len(self._content_of):
                self._content_of.append(content)
            self._sizes.add(state.size)
        self._forget()

    def _forget(self) -> None:
        self._met = bytearray(len(self._rows))
        self.missing = self.total = sum(self._rows)

    def _meet(self, content: int) -> None:
        if content >= 0 and not self._met[content]:
            self._met[content] = True
            self.missing -= self._rows[content]

    def check(self, listing: Listing, store: Path) -> None:
        """Raise an `InputError` unless a listing has more than half of the rows' images again.

        Files that are not recognised by name, size and time are read only as long as it matters.
        """
        unknown = [
            number for number in range(len(listing.images)) if not self._see(listing, number)
        ]
        for number in unknown:
            if _SHARE * self.missing < self.total:
                return
            self._read(listing, listing.images[number])
        sample = unknown[:_LOOKED_INTO]
        damaged = sample and not any(_is_image(listing, number) for number in sample)
        if damaged or _SHARE * self.missing < self.total:
            return
        raise InputError(
            f"{one_line(store)} has {self.total:,} rows, and {self.missing:,} of them are of other "
            f"images than those in {one_line(listing.name)}; choose another --out, or add "
            f"--replace to drop these {self.missing:,} rows"
        )

    def _see(self, listing: Listing, number: int) -> bool:
        """Tell whether an image is one of the store's by its name, size and time."""
        ref = listing.images[number]
        state = datasets.state(listing, ref)
        key = self._states.find(state_key(ref.path, FileState(*state))) if state else -1
        if key >= 0:
            self._meet(self._content_of[key])
        return key >= 0

    def _read(self, listing: Listing, ref: ImageRef) -> None:
        state = datasets.state(listing, ref)
        if listing.reader is None and (state is None or state[0] not in self._sizes):
            return
        with suppress(ImageError):
            data, _ = datasets.read(listing, ref)
            self._meet(self._contents.find(hashlib.sha256(data).digest()))

    def dropped(self, files: Sequence[Path]) -> int:
        """Return how many of the rows are gone from the ``files`` that were written since."""
        self._forget()
        for _, sha256, _ in _rows_of(files):
            self._meet(self._contents.find(sha256))
        return self.missing


def _is_image(listing: Listing, number: int) -> bool:
    """Tell whether a file begins like an image; damaged ones are for the run to report."""
    try:
        data, _ = datasets.read(listing, listing.images[number])
    except ImageError:
        return False
    return header.kind(data) is not None


def _rows_of(files: Sequence[Path]) -> Iterator[tuple[str, bytes, FileState]]:
    for path in files:
        with opened(path) as file:
            yield from stored_files(file)
