"""The outcome of every image of a listing, in some 60 bytes each.

A run over a million images must not keep a million tuples. One array holds the facts, and rows are
created from it and the listing when they are written.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from headstart.core.records import LabelSet, Listing
from headstart.core.targets import MULTI_LABEL
from headstart.features.store.columns import HASH_BYTES, Failure, FileState, Row

_DTYPE = np.dtype(
    [
        ("sha256", "u1", HASH_BYTES),
        ("state", [(field, "<i8") for field in FileState._fields]),
        ("error", "<i4"),  # number of the reason; 0 is none
        ("settled", "?"),
        ("embedded", "?"),
    ]
)
_UNREAD = bytes(HASH_BYTES)


class Outcomes:
    """One outcome for each image, by its number in the listing."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._facts = np.zeros(len(listing.images), _DTYPE)
        self._reasons = {"": 0}

    def put(
        self, number: int, sha256: bytes, state: FileState, embedded: bool, error: str = ""
    ) -> None:
        """Record the outcome of an image, see `worker.Outcome`."""
        reason = self._reasons.setdefault(error, len(self._reasons))
        content = np.frombuffer(sha256 or _UNREAD, np.uint8)
        self._facts[number] = (content, tuple(state), reason, True, embedded)

    def missing(self) -> Sequence[int]:
        """Return the numbers of the images that have no outcome yet."""
        return array("q", np.flatnonzero(~self._facts["settled"]).astype("<i8").tobytes())

    @property
    def embedded(self) -> int:
        """Images that went through the network and are rows."""
        return int(np.count_nonzero(self._facts["embedded"] & (self._facts["error"] == 0)))

    def split(self) -> tuple[Sequence[Row], list[Failure]]:
        """Return the rows, created on demand, and the failures, in listing order.

        An image with the same bytes as one that failed is a failure too.
        """
        if len(self.missing()):
            raise AssertionError("some images were never worked on")
        reasons = list(self._reasons)
        failed = self._facts["error"] != 0
        unusable: dict[bytes, str] = {}
        for number in np.flatnonzero(failed).tolist():
            sha256 = self._facts[number]["sha256"].tobytes()
            if sha256 != _UNREAD:
                unusable[sha256] = reasons[self._facts[number]["error"]]
        if unusable:
            contents = self._facts["sha256"]
            failed |= np.fromiter((c.tobytes() in unusable for c in contents), bool, len(contents))
        failures = []
        for number in np.flatnonzero(failed).tolist():
            fact = self._facts[number]
            sha256 = fact["sha256"].tobytes()
            error = reasons[fact["error"]] or unusable[sha256]
            path = self._listing.images[number].path
            failures.append(Failure(path, error, b"" if sha256 == _UNREAD else sha256))
        return _Rows(self._listing, self._facts, np.flatnonzero(~failed)), failures


class _Rows(Sequence[Row]):
    def __init__(
        self, listing: Listing, facts: NDArray[np.void], numbers: NDArray[np.intp]
    ) -> None:
        self._listing, self._facts, self._numbers = listing, facts, numbers
        self._code = {name: code for code, name in enumerate(listing.classes)}
        self._sets = listing.target == MULTI_LABEL

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self._row(number) for number in self._numbers[index].tolist()]
        return self._row(int(self._numbers[index]))

    def _row(self, number: int) -> Row:
        ref, fact = self._listing.images[number], self._facts[number]
        label = -1 if ref.label is None else self._code[ref.label]
        state = FileState(*fact["state"].tolist())
        labels = label_states(ref.labels, self._code) if self._sets else b""
        return Row(ref.path, label, ref.split, fact["sha256"].tobytes(), state, labels, ref.origin)


def label_states(labels: LabelSet | None, code: Mapping[str, int]) -> bytes:
    """Return 1, 0 or -1 (unknown) for each class, by its code; all are unknown without labels."""
    if labels is None:
        return b"\xff" * len(code)
    states = bytearray(len(code))
    for name in labels.present:
        states[code[name]] = 1
    for name in labels.unknown:
        states[code[name]] = 0xFF
    return bytes(states)
