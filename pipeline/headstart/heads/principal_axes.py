"""Rows in the coordinates of their principal axes.

A rotation preserves inner products and penalties, so solutions in these coordinates are exact. The
covariance is diagonal, which gives a good and cheap preconditioner, and with fewer rows than
features the problem shrinks to the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each
from headstart.core.rows import Features, StoredRows, blocks

BLOCK = 8192  # rows on disk that are read at once
NEGLIGIBLE = 1e-6  # share of the largest variance; less is rounding error of float32


@dataclass(frozen=True)
class RowSpace:
    """Centred rows on their principal axes.

    Attributes:
        points: ``(n, r) float32``, the coordinates; in a `StreamedSpace`, the rows themselves.
        mean: ``(d,) float32``.
        axes: ``(d, r) float32``, orthonormal columns; ``coordinates = (rows - mean) @ axes``.
        variances: ``(r,) float64``, the mean square of each coordinate.
    """

    points: Features
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Features) -> RowSpace:
        """Compute the space of rows ``(n, d)`` from the smaller of their two Gram matrices."""
        if isinstance(rows, StoredRows):
            return StreamedSpace.read(rows)
        n, d = rows.shape
        mean: NDArray[np.float32] = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        if n >= d:
            covariance = rows.T @ rows / np.float32(n)
            covariance -= np.outer(mean, mean)
            axes = _eigh(covariance)[1]
        else:
            centred = rows - mean
            squares, left = _eigh(centred @ centred.T)
            kept = squares > NEGLIGIBLE * max(squares[-1], np.finfo(np.float32).tiny)
            axes = centred.T @ (left[:, kept] / np.sqrt(squares[kept]))
        points = rows @ axes
        points -= mean @ axes
        variances = np.einsum("ij,ij->j", points, points).astype(np.float64) / n
        return cls(points, mean, axes, variances)

    def on_points(
        self, coefficients: NDArray[np.float32], intercepts: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Convert linear functions of the coordinates, ``(r, m)`` and ``(m,)``, to `points`."""
        return coefficients, intercepts

    def on_axes(
        self, gradient: NDArray[np.float32], sums: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert ``points.T @ x`` to ``coordinates.T @ x``, ``(r, m)``, given the sums of x."""
        return gradient


class StreamedSpace(RowSpace):
    """The space of rows on disk, which one pass reads for mean and covariance.

    The rows stay as they are; the small coefficients and gradients are rotated instead.
    """

    @classmethod
    def read(cls, rows: StoredRows[np.float32]) -> StreamedSpace:
        """Compute the space of rows ``(n, d)`` in one pass."""
        n, d = rows.shape
        total, squares = np.zeros(d), np.zeros((d, d))
        for _, block in blocks(rows, BLOCK):
            total += block.sum(axis=0, dtype=np.float64)
            squares += block.T @ block
        mean = total / n
        covariance = squares / n - np.outer(mean, mean)
        variances, axes = _eigh(covariance.astype(np.float32))
        kept = variances > NEGLIGIBLE * max(variances[-1], np.finfo(np.float32).tiny)
        return cls(rows, mean.astype(np.float32), axes[:, kept], variances[kept].astype(np.float64))

    def on_points(
        self, coefficients: NDArray[np.float32], intercepts: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rotate the coefficients to the rows' own axes; see `RowSpace.on_points`."""
        turned = self.axes @ coefficients
        return turned, intercepts - self.mean @ turned

    def on_axes(
        self, gradient: NDArray[np.float32], sums: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Rotate the gradient to the principal axes; see `RowSpace.on_axes`."""
        turned: NDArray[np.float32] = self.axes.T @ (gradient - np.outer(self.mean, sums))
        return turned


def _eigh(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return eigenvalues and eigenvectors, on one BLAS thread: more would slow it down."""
    with one_thread_each():
        values, vectors = np.linalg.eigh(matrix)
    return values, vectors
