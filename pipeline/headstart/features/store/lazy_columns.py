"""A column of a store that stays on disk: its rows are read on demand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.rows import S, StoredRows, widen
from headstart.features.store.opening import OpenFiles, in_one_line

_HALVES = (np.dtype(np.float16), np.dtype(np.float32))  # in the file, and as returned
SPAN = 8192  # rows that may be read at once to get some of them


class RowsOnDisk(StoredRows[S]):
    """The rows of one dataset of a store's files, one file after the other. Threads may share it.

    Files are opened again by name, so a name must always mean the same file. That holds for the
    shards of a folder, and a store in one file stays open.

    ``counts`` are the rows of each file, ``tail`` is the shape of a row, and ``dtype`` that of the
    arrays returned, whatever the files hold.
    """

    def __init__(
        self,
        files: Sequence[Path],
        counts: Sequence[int],
        name: str,
        tail: tuple[int, ...],
        dtype: type[S],
    ) -> None:
        self._files, self._name = OpenFiles(files), name
        self._ends = np.cumsum(counts)
        self.shape, self.dtype = (int(self._ends[-1]), *tail), np.dtype(dtype)
        self._reading = threading.Lock()
        self._read(0, 0, 0)

    def __getitem__(self, rows: Any) -> NDArray[S]:  # noqa: ANN401 - as an array's
        if isinstance(rows, int | np.integer):
            return np.asarray(self[int(rows) : int(rows) + 1][0])
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self._select(np.arange(start, stop, step))
        numbers = np.asarray(rows)
        return self._select(np.flatnonzero(numbers) if numbers.dtype == bool else numbers)

    def _select(self, rows: NDArray[np.intp]) -> NDArray[S]:
        """Return rows by number, read in the order in which the files hold them."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        places = None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
        rows = rows if places is None else rows[places]
        position = 0
        while position < len(rows):
            first = int(rows[position])
            number = int(np.searchsorted(self._ends, first, "right"))
            end = int(np.searchsorted(rows, min(first + SPAN, int(self._ends[number]))))
            read = self._read(number, first, int(rows[end - 1]) + 1)
            picked = read if len(read) == end - position else read[rows[position:end] - first]
            if places is None and (picked.dtype, self.dtype) == _HALVES:
                widen(picked, out[position:end])
            elif places is None:
                out[position:end] = picked
            else:
                out[places[position:end]] = picked
            position = end
        return out

    def _read(self, number: int, start: int, stop: int) -> NDArray[Any]:
        """Read rows of one file; the row numbers count over all files."""
        begin = int(self._ends[number - 1]) if number else 0
        with self._reading, in_one_line(self._files.paths[number]):
            rows: NDArray[Any] = self._files[number][self._name][start - begin : stop - begin]
            return rows
