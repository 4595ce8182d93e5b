"""Rows of numbers that may not fit into memory.

Indexing returns an array, so the same code handles rows on disk and in memory, block by block.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

S = TypeVar("S", bound=np.generic)


class StoredRows(ABC, Generic[S]):
    """Rows that are read when they are indexed."""

    shape: tuple[int, ...]
    dtype: np.dtype[S]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: Any) -> NDArray[S]:  # noqa: ANN401 - as an array's
        """Return rows by number, array of numbers, or slice without a step."""

    def __array__(self, *_: object, **__: object) -> NDArray[S]:
        """Raise an error instead of reading all rows at once."""
        raise TypeError(f"{self.shape[0]:,} rows do not become one array; index some of them")

    @property
    def nbytes(self) -> int:
        """Bytes of memory that all rows would take."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


_CACHED = 64  # rows of some thousand features that stay in a core's cache
_FIELDS = np.int32(-0x70002000)  # the sign, and exponent and fraction of a float16, in a float32
_BIAS = np.float32(2.0**112)
_BEYOND = 65536.0

Features: TypeAlias = NDArray[np.float32] | StoredRows[np.float32]
Pixels: TypeAlias = NDArray[np.uint8] | StoredRows[np.uint8]


class _Taken(StoredRows[S]):
    def __init__(self, source: StoredRows[S], rows: NDArray[np.intp]) -> None:
        self._source, self._rows = source, rows
        self.shape, self.dtype = (len(rows), *source.shape[1:]), source.dtype

    def __getitem__(self, rows: Any) -> NDArray[S]:  # noqa: ANN401
        return self._source[self._rows[rows]]


class Mapped(StoredRows[S]):
    """Rows of ``width`` columns that a function computes from ``source`` when they are indexed."""

    def __init__(
        self,
        source: StoredRows[Any],
        function: Callable[[NDArray[Any]], NDArray[S]],
        width: int,
        dtype: type[S],
    ) -> None:
        self._source, self._function = source, function
        self.shape, self.dtype = (len(source), width), np.dtype(dtype)

    def __getitem__(self, rows: Any) -> NDArray[S]:  # noqa: ANN401
        return self._function(self._source[rows])


@overload
def take(matrix: NDArray[S], rows: NDArray[np.intp]) -> NDArray[S]: ...


@overload
def take(matrix: StoredRows[S], rows: NDArray[np.intp]) -> StoredRows[S]: ...


def take(matrix: NDArray[S] | StoredRows[S], rows: NDArray[np.intp]) -> NDArray[S] | StoredRows[S]:
    """Return rows by number; they stay on disk if ``matrix`` is on disk."""
    return _Taken(matrix, rows) if isinstance(matrix, StoredRows) else matrix[rows]


def widen(half: NDArray[np.float16], out: NDArray[np.float32]) -> None:
    """Convert ``(n, d) float16`` to float32, to the bits that NumPy gives, in a sixth of its time.

    Exponent and fraction move to their places in the wider format, and a product corrects the
    exponent's bias, of subnormal numbers too. Infinities and NaN come out beyond every float16, and
    are left to NumPy.
    """
    for start in range(0, len(half), _CACHED):
        rows = slice(start, start + _CACHED)
        bits = out[rows].view(np.int32)
        bits[...] = half[rows].view(np.int16)
        bits <<= 13
        bits &= _FIELDS
        out[rows] *= _BIAS
        if out[rows].max(initial=0) >= _BEYOND or out[rows].min(initial=0) <= -_BEYOND:
            out[rows] = half[rows]


def blocks(matrix: NDArray[S] | StoredRows[S], size: int) -> Iterator[tuple[slice, NDArray[S]]]:
    """Yield blocks of ``size`` rows, each as its slice and its rows."""
    for start in range(0, len(matrix), size):
        rows = slice(start, min(start + size, len(matrix)))
        yield rows, matrix[rows]


def content_hash(row: NDArray[np.float32]) -> bytes:
    """Return the SHA-256 of a row of features, which stands for that of an image file."""
    return hashlib.sha256(np.ascontiguousarray(row, "<f4").tobytes()).digest()
