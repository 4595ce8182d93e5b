"""Rows in the coordinates of their principal axes: no more of them than rows or features.

A rotation changes neither inner products nor penalties, so whatever is solved in these coordinates
is solved exactly; but here the covariance is diagonal, which makes a good preconditioner cheap, and
where there are fewer rows than features, problems shrink to the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each
from headstart.core.rows import Features, StoredRows, blocks

BLOCK = 8192  # rows of a pass through rows on disk
NEGLIGIBLE = 1e-6  # of the largest variance: rounding errors of float32


@dataclass(frozen=True)
class RowSpace:
    """Rows without their mean, on their principal axes.

    Attributes:
        points: ``(n, r) float32``, the coordinates; of rows on disk, `StreamedSpace`, the rows.
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
        """Find it by the eigenvectors of the ``(d, d)`` or the ``(n, n)`` products of rows.

        Args:
            rows: ``(n, d)``.
        """
        if isinstance(rows, StoredRows):
            return StreamedSpace.found(rows)
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
        """Return linear functions of the coordinates as functions of `points`.

        Args:
            coefficients: ``(r, m)``.
            intercepts: ``(m,)``.

        Returns:
            Coefficients and intercepts of the same values from what `points` holds.
        """
        return coefficients, intercepts

    def on_axes(
        self, gradient: NDArray[np.float32], sums: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the products of the coordinates and something, from those of `points` and it.

        Args:
            gradient: ``points.T @ something``.
            sums: ``(m,)`` sums of something's columns.

        Returns:
            ``(r, m)``.
        """
        return gradient


class StreamedSpace(RowSpace):
    """The same of rows on disk, which are read once for mean and covariance and stay as they are.

    Turning coefficients and gradients, which are small, does what turning the rows would do.
    """

    @classmethod
    def found(cls, rows: StoredRows[np.float32]) -> StreamedSpace:
        """Find it in one pass.

        Args:
            rows: ``(n, d)``.
        """
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
        """Turn the coefficients to the rows' own axes; see `RowSpace.on_points`."""
        turned = self.axes @ coefficients
        return turned, intercepts - self.mean @ turned

    def on_axes(
        self, gradient: NDArray[np.float32], sums: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Turn the gradient to the principal axes; see `RowSpace.on_axes`."""
        turned: NDArray[np.float32] = self.axes.T @ (gradient - np.outer(self.mean, sums))
        return turned


def _eigh(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return eigenvalues and eigenvectors; more threads of BLAS only get in each other's way."""
    with one_thread_each():
        values, vectors = np.linalg.eigh(matrix)
    return values, vectors
