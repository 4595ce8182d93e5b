"""Linear algebra on rows of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel

_BLOCKS = 32  # at most
_BLOCK = 512  # rows, at least
_SPARE = 16  # vectors of a subspace more than axes, which sharpen the last of them
_ROUNDS = 3


def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows, ``(n, d)``, to Euclidean norm 1; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (rows / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


def row_cosine(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cosine of each row with the same row of another matrix, ``(n,)``.

    It is 0 for a row of zeros, and -1 for a row with a value that is not finite.
    """
    left, right = rows.astype(np.float64), others.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        cosine: NDArray[np.float64] = (left * right).sum(axis=1) / np.maximum(norms, 1e-30)
    return np.asarray(np.nan_to_num(cosine, nan=-1.0), np.float64)


def main_axes(
    rows: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return orthonormal axes, ``(d, count)``, that carry most of ``(n, d)`` rows' inner products.

    And the mean squares along them, ascending. By subspace iteration from random vectors: Halko,
    Martinsson and Tropp, *Finding structure with randomness*, SIAM Review 2011.
    """
    n, d = rows.shape
    width = min(count + _SPARE, d)
    vectors = np.random.default_rng(0).standard_normal((d, width), np.float32)
    for _ in range(_ROUNDS):
        vectors = np.linalg.qr(rows.T @ (rows @ vectors))[0]
    reduced = rows @ vectors
    values, turn = np.linalg.eigh(reduced.T @ reduced)
    means = np.maximum(values[-count:].astype(np.float64), 0.0) / n
    return vectors @ turn[:, -count:], means


def squares(rows: NDArray[Any]) -> NDArray[Any]:
    """Return ``rows.T @ rows`` of ``(n, d)``, the sum over blocks of rows on all workers.

    The blocks depend on n alone, and so does every digit.
    """
    size = max(_BLOCK, -(-len(rows) // _BLOCKS))
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    parts = run_parallel(lambda block: block.T @ block, blocks, available_cores())
    total: NDArray[Any] = parts[0]
    for part in parts[1:]:
        total += part
    return total
