"""Nearest neighbours of all rows among all rows, in tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel

BLOCK = 2048  # rows; a tile of two blocks takes 16 MB
WIDTH = 160  # columns by which neighbours are first sought
SAMPLE = 2000  # rows that define those columns

Pairs = NDArray[np.intp]


def nearest(vectors: NDArray[np.float32], count: int, least: float = -1.0) -> Pairs:
    """Return the pairs, ``(m, 2)``, of rows and their nearest neighbours by inner product.

    A row has up to ``count`` neighbours with an inner product of at least ``least``. Each pair
    occurs once, smaller row first, in ascending order.
    """
    if len(vectors) < 2:
        return np.empty((0, 2), np.intp)
    tops = run_parallel(
        lambda start: _of_block(vectors, start, count, least),
        range(0, len(vectors), BLOCK),
        available_cores(),
    )
    pairs: Pairs = np.sort(np.concatenate(tops), axis=1)
    return np.unique(pairs, axis=0)


def compressed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of at most `WIDTH` columns, ``(n, w)``, with nearly the same inner products.

    The columns are the main axes of a sample. Wide rows take the longest to compare.
    """
    if rows.shape[1] <= WIDTH:
        return rows
    sample = rows[:: -(-len(rows) // SAMPLE)]
    _, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    narrow: NDArray[np.float32] = rows @ axes[:, -WIDTH:].astype(np.float32)
    return narrow


def _of_block(vectors: NDArray[np.float32], start: int, count: int, least: float) -> Pairs:
    """Return the pairs of a block's rows and their neighbours."""
    block = vectors[start : start + BLOCK]
    own = np.arange(len(block))
    row, other, value = own[:0], own[:0], np.empty(0, np.float32)
    bar = np.full(len(block), least, np.float32)  # what the last of a row's neighbours has
    for first in range(0, len(vectors), BLOCK):
        products = block @ vectors[first : first + BLOCK].T
        if first == start:
            products[own, own] = -np.inf
        if not first and count < products.shape[1]:
            bar = np.maximum(bar, np.partition(products, -count, axis=1)[:, -count])
        near, column = np.nonzero(products >= bar[:, None])
        row, other = np.r_[row, near], np.r_[other, column + first]
        value = np.r_[value, products[near, column]]
        order = np.lexsort((other, -value, row))
        row, other, value = row[order], other[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        last = place == count - 1
        bar[row[last]] = np.nextafter(value[last], np.float32(np.inf))  # only a nearer row counts
        row, other, value = (v[place < count] for v in (row, other, value))
    return np.stack([row + start, other], axis=1)
