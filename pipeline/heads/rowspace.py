"""Rows in the coordinates of their principal axes: no more of them than rows or features.

A rotation changes neither inner products nor penalties, so whatever is solved in these coordinates
is solved exactly; but here the covariance is diagonal, which makes a good preconditioner cheap, and
where there are fewer rows than features, problems shrink to the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.threads import one_thread_each

NEGLIGIBLE = 1e-6  # of the largest variance: rounding errors of float32


@dataclass(frozen=True)
class RowSpace:
    """Rows without their mean, on their principal axes.

    Attributes:
        points: ``(n, r) float32``, the coordinates.
        mean: ``(d,) float32``.
        axes: ``(d, r) float32``, orthonormal columns; ``points = (rows - mean) @ axes``.
        variances: ``(r,) float64``, the mean square of each coordinate.
    """

    points: NDArray[np.float32]
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> RowSpace:
        """Find it by the eigenvectors of the ``(d, d)`` or the ``(n, n)`` products of rows.

        Args:
            rows: ``(n, d)``.
        """
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


def _eigh(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return eigenvalues and eigenvectors; more threads of BLAS only get in each other's way."""
    with one_thread_each():
        values, vectors = np.linalg.eigh(matrix)
    return values, vectors
