"""The columns of a feature store: the one table that writing, reading and checking derive from.

To add a column, append an entry to `TABLE` with the version of the format that adds it, and a test
that stores of the version before can still be read. The column ``checks`` has a CRC-32 of every
other column, in the order of the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets.images import MINIATURE, miniature

FORMAT = "headstart-features"
VERSION = 3
PLAIN = 1  # the version that last changed what is computed from an image
TEXT = "text"
HASH_BYTES = 32
CHECKS = "checks"
LABELS = "labels"
ORIGIN = "origin"

Block = Mapping[str, NDArray[Any]]
"""Some rows: an array for each column, texts as objects."""


class FileState(NamedTuple):
    """A file's size and modification time; while they stay, the file need not be read again."""

    size: int
    mtime_ns: int


class Row(NamedTuple):
    """One image to store: its entry in the listing, and the SHA-256 of its bytes."""

    path: str
    label: int
    split: str
    sha256: bytes
    state: FileState
    labels: bytes = b""  # of a multi-label store: 1, 0 or -1 (int8) by class
    origin: str = ""


class Failure(NamedTuple):
    """One image that could not be embedded; ``sha256`` is empty if it could not be read."""

    path: str
    reason: str
    sha256: bytes


@dataclass(frozen=True)
class Column:
    """One dataset of a store.

    Attributes:
        kinds: accepted numpy types, such as ``f4``, or `TEXT`; the first one is written.
        tail: the shape of a row; None stands for any length: the number of features, or of
            classes if the column is ``by_class``.
        default: the value where a row's own is unknown; None if there can be no default.
        required: whether a file without it is no store.
        of_row: gets a row's value from its `Row`.
        of_image: computes a row's value from the decoded crop; such values are journalled. A column
            with neither holds what the network computes.
        group: columns of one group are lost together when a store is repaired.
        since: the version of the format that added it.
        optional: whether new stores in which all values are the default are of a version before it.
        target: the target type whose stores alone have it; empty for those of all types.
    """

    name: str
    kinds: tuple[str, ...]
    tail: tuple[int | None, ...] = ()
    default: int | str | None = None
    required: bool = False
    of_row: Callable[[Row], Any] | None = None
    of_image: Callable[[NDArray[np.uint8]], Any] | None = None
    group: str = ""
    since: int = 1
    by_class: bool = False
    target: str = ""
    optional: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return self.kinds[0] == TEXT

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that is written."""
        return h5py.string_dtype("utf-8") if self.is_text else np.dtype(f"<{self.kinds[0]}")

    def shape(self, rows: int, width: int = 0) -> tuple[int, ...]:
        """Return the shape of this many rows; ``width`` replaces a length that is not fixed."""
        return (rows, *(width if length is None else length for length in self.tail))

    def unknown(self, rows: int, width: int = 0) -> NDArray[Any]:
        """Return rows of the default."""
        return np.full(
            self.shape(rows, width), self.default, object if self.is_text else self.dtype
        )


def stored_name(path: str) -> str:
    r"""Return a path as stores keep it: bytes that are not UTF-8 become ``\\xNN``.

    >>> stored_name("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # in a locale that lacks such letters
        raw = path.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


LISTING, STATE = "listing", "state"  # groups: restored by a listing, by the file system

TABLE: tuple[Column, ...] = (
    Column("features", ("f4", "f2"), (None,), required=True),
    Column("path", (TEXT,), required=True, of_row=lambda row: stored_name(row.path)),
    Column("label", ("i4",), (), -1, required=True, of_row=attrgetter("label"), group=LISTING),
    Column("split", (TEXT,), (), "", required=True, of_row=attrgetter("split"), group=LISTING),
    Column(
        "sha256",
        ("u1",),
        (HASH_BYTES,),
        required=True,
        of_row=lambda row: np.frombuffer(row.sha256, np.uint8),
    ),
    Column("size", ("i8",), (), -1, of_row=attrgetter("state.size"), group=STATE),
    Column("mtime_ns", ("i8",), (), -1, of_row=attrgetter("state.mtime_ns"), group=STATE),
    Column("pixels", ("u1",), (MINIATURE, MINIATURE, 3), of_image=miniature),
    Column(
        LABELS,
        ("i1",),
        (None,),
        -1,
        required=True,
        of_row=lambda row: np.frombuffer(row.labels, np.int8),
        group=LISTING,
        since=2,
        by_class=True,
        target=MULTI_LABEL,
    ),
    Column(
        ORIGIN,
        (TEXT,),
        (),
        "",
        required=True,
        of_row=attrgetter("origin"),
        group=LISTING,
        since=3,
        optional=True,
    ),
)
FAILURES: tuple[Column, ...] = (
    Column("path", (TEXT,), required=True),
    Column("reason", (TEXT,), required=True),
    Column("sha256", ("u1",), (HASH_BYTES,)),
)


def version_of(target: str, origins: bool = False) -> int:
    """Return the version of a new store: the first that has all columns of its target.

    Without ``origins``, an image has none, and earlier releases can read the store.
    """
    return max(
        column.since
        for column in TABLE
        if column.target in ("", target) and (origins or not column.optional)
    )


def of_version(version: int, target: str = SINGLE_LABEL) -> tuple[Column, ...]:
    """Return the columns of stores of a version, in the order of their CRCs."""
    return tuple(
        column for column in TABLE if column.since <= version and column.target in ("", target)
    )


def checks(version: int, target: str = SINGLE_LABEL) -> Column:
    """Return the column of the rows' CRCs."""
    return Column(CHECKS, ("u4",), (len(of_version(version, target)),))


def from_listing(target: str = SINGLE_LABEL, version: int = VERSION) -> tuple[Column, ...]:
    """Return the columns that follow from `Row`; files have them first."""
    return tuple(column for column in of_version(version, target) if column.of_row)


def from_image() -> tuple[Column, ...]:
    """Return the columns that are computed from the image, which the journal keeps."""
    return tuple(column for column in TABLE if not column.of_row)


def rows_block(rows: Sequence[Row], target: str, version: int) -> Block:
    """Return the columns of a store of this version that follow from rows."""
    return {
        column.name: _array(column, [column.of_row(row) for row in rows])
        for column in from_listing(target, version)
        if column.of_row
    }


def image_values(crop: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the columns, other than features, of an image's ``(height, width, 3)`` crop."""
    return {column.name: column.of_image(crop) for column in TABLE if column.of_image}


def failures_block(failures: Sequence[Failure]) -> Block:
    """Return failures as columns; a missing hash is zeros."""
    hashes = b"".join(failure.sha256.ljust(HASH_BYTES, b"\0") for failure in failures)
    return {
        "path": np.array([stored_name(failure.path) for failure in failures], object),
        "reason": np.array([failure.reason for failure in failures], object),
        "sha256": np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES),
    }


def _array(column: Column, values: Sequence[Any]) -> NDArray[Any]:
    array = np.array(values, object if column.is_text else column.dtype)
    return array.reshape(column.shape(len(values), -1 if values else 0))
