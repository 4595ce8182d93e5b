"""The nearest of many rows that stay on disk: exactly, block by block, or by an inverted index.

The index keeps rows of norm 1 by their first principal components, in lists by their nearest
centre, and looks into some of the lists only (Jégou, Douze and Schmid, *Product Quantization for
Nearest Neighbor Search*, 2011, without the quantisation of their title). Into how many: until it
finds nearly all of the true neighbours of a sample, or as many as it may; what it finds of them is
told. Sole user of faiss (Douze et al., *The Faiss library*, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import missing_extra
from headstart.core.parallel.blas import run_parallel
from headstart.core.rows import StoredRows, blocks
from headstart.heads.search import TrainingSet

EXACT = 200_000  # rows; with more, an index is asked
BLOCK = 8192  # rows that are read at once
TOGETHER = 512  # rows whose distances a thread holds at once
GROUP = 16  # columns that stand behind one minimum when the smallest of many are sought

SAMPLE = 500  # rows whose true neighbours are worked out
NEIGHBOURS = 40  # of each of them
RECALL = 0.95  # that is enough
FEWEST, MOST = 1 / 128, 1 / 16  # of the lists that are looked into
COMPONENTS = 128  # that the index keeps of a row
TRAINED_ON = 64  # rows a list, that the centres are found from

Found = tuple[NDArray[np.intp], NDArray[np.float32]]


class Search(Protocol):
    """Something that finds neighbours among training rows.

    Attributes:
        told: what it does in place of the exact method; empty if nothing.
        params: facts about it that results keep.
    """

    told: str
    params: dict[str, Any]

    def nearest(
        self, rows: NDArray[np.float32], k: int, among: NDArray[np.intp] | None = None
    ) -> Found:
        """Return the k nearest training rows of each row, nearest first.

        Args:
            rows: ``(m, d)``, of norm 1.
            k: how many; there are as many.
            among: numbers of training rows that may be found; None for all.

        Returns:
            Their numbers and the squared distances, both ``(m, k)``.
        """


def search_over(data: TrainingSet) -> Search:
    """Return what finds neighbours among the rows of a training set.

    Raises:
        HeadstartError: there are so many that it takes an index, and faiss is not installed.
    """
    if len(data.labels) <= EXACT:
        return _Exact(data.rows, data.workers)
    return _Indexed(data)


class _Exact:
    """All of the rows are gone through for every question."""

    told = ""

    def __init__(self, rows: StoredRows[np.float32], workers: int) -> None:
        self._rows, self._workers = rows, workers
        self.params: dict[str, Any] = {}

    def nearest(
        self, rows: NDArray[np.float32], k: int, among: NDArray[np.intp] | None = None
    ) -> Found:
        order = np.zeros((len(rows), 0), np.intp)
        squared = np.zeros((len(rows), 0), np.float32)
        allowed = np.ones(len(self._rows), bool)
        if among is not None:
            allowed[:] = False
            allowed[among] = True
        norms = np.einsum("ij,ij->i", rows, rows)
        for at, block in blocks(self._rows, BLOCK):
            numbers = np.arange(at.start, at.stop)[allowed[at]]
            if not len(numbers):
                continue
            theirs = block[allowed[at]]
            columns, values = _block_nearest(
                rows, norms, theirs, min(k, len(numbers)), self._workers
            )
            order = np.hstack([order, numbers[columns]])
            squared = np.hstack([squared, values])
            kept = np.argsort(squared, axis=1, kind="stable")[:, :k]
            order = np.take_along_axis(order, kept, axis=1)
            squared = np.take_along_axis(squared, kept, axis=1)
        return order, squared


def _block_nearest(
    rows: NDArray[np.float32],
    norms: NDArray[np.float32],
    others: NDArray[np.float32],
    k: int,
    workers: int,
) -> Found:
    """Return the k nearest of some rows for each of some others."""
    others_norms = np.einsum("ij,ij->i", others, others)

    def nearest(start: int) -> Found:
        part = slice(start, start + TOGETHER)
        squared = rows[part] @ others.T
        squared *= -2.0
        squared += others_norms
        squared += norms[part, None]
        return smallest(squared, k)

    found = run_parallel(nearest, range(0, len(rows), TOGETHER), workers)
    return np.concatenate([one for one, _ in found]), np.concatenate([two for _, two in found])


class _Indexed:
    """An inverted index of principal components, in memory.

    Args:
        data: the training set.
    """

    def __init__(self, data: TrainingSet) -> None:
        try:
            import faiss
        except ImportError:
            raise missing_extra("faiss-cpu", "ann") from None
        self._faiss, self._workers = faiss, data.workers
        space = data.row_space
        self._mean, self._axes = space.mean, space.axes[:, -COMPONENTS:]
        n, dim = len(data.rows), self._axes.shape[1]
        lists = 2 ** round(np.log2(np.sqrt(n)))
        rng = np.random.default_rng(data.seed)
        coarse = faiss.IndexFlatL2(dim)
        self._index = faiss.IndexIVFFlat(coarse, dim, lists)
        self._index.cp.seed = data.seed
        with self._threads():
            drawn = np.sort(rng.choice(n, min(n, TRAINED_ON * lists), replace=False))
            self._index.train(self._components(data.rows[drawn]))
            for _, block in blocks(data.rows, BLOCK):
                self._index.add(self._components(block))
        self._index.nprobe = max(1, int(lists * FEWEST))
        recall, k = self._settle(data, rng, lists)
        self.params: dict[str, Any] = {
            "components": dim,
            "lists": lists,
            "probed": self._index.nprobe,
            "recall": round(recall, 4),
        }
        self.told = (
            f"approximate neighbours: {dim} principal components, {self._index.nprobe:,} of"
            f" {lists:,} lists looked into, {recall:.1%} of the true {k} found"
        )

    def _settle(self, data: TrainingSet, rng: np.random.Generator, lists: int) -> tuple[float, int]:
        """Look into more lists until enough neighbours are found.

        Returns:
            The share of the true neighbours that is found, and of how many.
        """
        fit, held_out = data.folds[0]
        asked = np.sort(rng.choice(held_out, min(SAMPLE, len(held_out)), replace=False))
        rows = data.rows[asked]
        k = min(NEIGHBOURS, len(fit))
        true, _ = _Exact(data.rows, self._workers).nearest(rows, k, fit)
        while True:
            found, _ = self.nearest(rows, k, fit)
            shared = [len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]
            recall = float(np.mean(shared)) / k
            if recall >= RECALL or 2 * self._index.nprobe > lists * MOST:
                return recall, k
            self._index.nprobe *= 2

    def nearest(
        self, rows: NDArray[np.float32], k: int, among: NDArray[np.intp] | None = None
    ) -> Found:
        rows = self._components(rows)
        order, squared = self._ask(rows, k, among, self._index.nprobe)
        # Lists that hold too few of the rows that may be found: all lists hold enough.
        few = np.flatnonzero((order < 0).any(axis=1))
        if len(few):
            order[few], squared[few] = self._ask(rows[few], k, among, self._index.nlist)
        return order, squared

    def _ask(
        self, rows: NDArray[np.float32], k: int, among: NDArray[np.intp] | None, probed: int
    ) -> Found:
        faiss = self._faiss
        with self._threads():
            parameters = faiss.SearchParametersIVF(nprobe=probed)
            if among is not None:
                allowed = np.zeros(self._index.ntotal, bool)
                allowed[among] = True
                bits = np.packbits(allowed, bitorder="little")
                selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
                parameters = faiss.SearchParametersIVF(nprobe=probed, sel=selector)
            squared, order = self._index.search(rows, k, params=parameters)
        return order.astype(np.intp, copy=False), squared

    def _components(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray((rows - self._mean) @ self._axes)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Give faiss the threads that it may have; it takes no others while others are at work."""
        before = self._faiss.omp_get_max_threads()
        self._faiss.omp_set_num_threads(self._workers)
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(before)


def smallest(values: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Find the k smallest values of each row, ascending.

    In long rows, the k-th smallest of the minima of groups bounds the k-th smallest value from
    above; the few values within the bound are found at memory speed, and only they are sorted.

    Args:
        values: ``(m, n)``.
        k: at most ``n``.

    Returns:
        Their columns and the values, both ``(m, k)``.
    """
    m, n = values.shape
    groups = n // GROUP
    if groups < 4 * k:
        columns = np.argpartition(values, k - 1, axis=1)[:, :k]
        return _ascending(columns, np.take_along_axis(values, columns, axis=1), k)
    minima = values[:, :groups].copy()
    for start in range(groups, groups * GROUP, groups):
        np.minimum(minima, values[:, start : start + groups], out=minima)
    bound = np.partition(minima, k - 1, axis=1)[:, k - 1, None]
    row, column = np.nonzero(values <= bound)
    counts = np.bincount(row, minlength=m)
    width = int(counts.max())
    if width > 32 * k:  # many equal values
        columns = np.argpartition(values, k - 1, axis=1)[:, :k]
        return _ascending(columns, np.take_along_axis(values, columns, axis=1), k)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = np.zeros((m, width), np.intp)
    found = np.full((m, width), np.inf, np.float32)
    columns[row, place] = column
    found[row, place] = values[row, column]
    return _ascending(columns, found, k)


def _ascending(
    columns: NDArray[np.intp], values: NDArray[np.float32], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
