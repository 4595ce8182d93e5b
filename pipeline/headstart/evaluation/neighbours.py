"""Nearest neighbours of all rows among all rows, in tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.linalg import main_axes
from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel

BLOCK = 2048  # rows; a tile of two blocks takes 16 MB
WIDTH = 160  # columns by which neighbours are first sought
SAMPLE = 2000  # rows that define those columns

Pairs = NDArray[np.intp]


def nearest(vectors: NDArray[np.float32], count: int, least: float = -1.0) -> Pairs:
    """Return the pairs, ``(m, 2)``, of rows and their nearest neighbours by inner product.

    A row, of norm 1 at most, has up to ``count`` neighbours with an inner product of at least
    ``least``. Each pair occurs once, smaller row first, in ascending order.
    """
    if len(vectors) < 2:
        return np.empty((0, 2), np.intp)
    # Along their main axis, blocks that are too far apart for such an inner product are skipped.
    place = vectors @ np.linalg.eigh(vectors.T @ vectors)[1][:, -1]
    order = np.argsort(place, kind="stable")
    vectors, place = vectors[order], place[order]
    reach = np.sqrt(2 - 2 * least) + 1e-3
    blocks = [_Block(vectors, start, count, least) for start in range(0, len(vectors), BLOCK)]
    # As in a tournament: in each round a block meets one other, so threads share none, and every
    # product serves both.
    total = len(blocks)
    for number in range(total):
        opponents = [(i, (number - i) % total) for i in range(total)]
        games = [
            (blocks[i], blocks[j])
            for i, j in opponents
            if i <= j and place[j * BLOCK] - place[min((i + 1) * BLOCK, len(place)) - 1] <= reach
        ]
        run_parallel(_compare, games, available_cores(), numpy_alone=True)
    tops = [np.stack([block.row + block.start, block.other], axis=1) for block in blocks]
    pairs: Pairs = np.sort(order[np.concatenate(tops)], axis=1)
    return np.unique(pairs, axis=0)


def compressed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of at most `WIDTH` columns, ``(n, w)``, with nearly the same inner products.

    The columns are the main axes of a sample. Wide rows take the longest to compare.
    """
    if rows.shape[1] <= WIDTH:
        return rows
    axes, _ = main_axes(rows[:: -(-len(rows) // SAMPLE)], WIDTH)
    narrow: NDArray[np.float32] = rows @ axes
    return narrow


class _Block:
    """Some of the rows, and the nearest neighbours that were found for them so far."""

    def __init__(self, vectors: NDArray[np.float32], start: int, count: int, least: float) -> None:
        self.vectors = vectors[start : start + BLOCK]
        self.start, self.count = start, count
        self.row = self.other = np.empty(0, np.intp)
        self.value = np.empty(0, np.float32)
        # What the last of a row's neighbours has.
        self.bar = np.full(len(self.vectors), least, np.float32)
        self._new = True

    def add(self, products: NDArray[np.float32], first: int) -> None:
        """Take note of inner products with the rows from ``first`` on."""
        count = self.count
        if self._new and count < products.shape[1]:
            nth = np.partition(products, -count, axis=1)[:, -count]
            self.bar = np.maximum(self.bar, nth)
        self._new = False
        # In the order of memory, and flat: `np.nonzero` takes ten times as long.
        if products.flags.c_contiguous:
            cells = np.flatnonzero(products >= self.bar[:, None])
            near, column = np.divmod(cells, products.shape[1])
        else:
            cells = np.flatnonzero(products.T >= self.bar)
            column, near = np.divmod(cells, products.shape[0])
        if not len(near):
            return
        row, other = np.r_[self.row, near], np.r_[self.other, column + first]
        value = np.r_[self.value, products[near, column]]
        order = np.lexsort((other, -value, row))
        row, other, value = row[order], other[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        last = place == count - 1
        # Only a nearer row counts.
        self.bar[row[last]] = np.nextafter(value[last], np.float32(np.inf))
        self.row, self.other, self.value = (v[place < count] for v in (row, other, value))


def _compare(pair: tuple[_Block, _Block]) -> None:
    """Compare all rows of two blocks, or of one with itself."""
    left, right = pair
    products = left.vectors @ right.vectors.T
    if left is right:
        np.fill_diagonal(products, -np.inf)
        left.add(products, left.start)
        return
    left.add(products, right.start)
    right.add(products.T, left.start)
