"""Rows and the few axes along which they vary most, which make regressions on them quick.

On the main axes the Hessian of a linear model is nearly diagonal, and across the rest, where rows
hardly vary, it is nearly a multiple of the identity. The axes come from a sample of the rows: a
preconditioner need not be exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.linalg import main_axes
from headstart.core.parallel.blas import one_thread_each
from headstart.core.rows import Features, StoredRows

Array = NDArray[np.float32]

SAMPLE = 4096  # rows
AXES = 128
NEGLIGIBLE = 1e-6  # share of the largest variance; less is rounding error of float32


@dataclass(frozen=True)
class RowSpace:
    """Rows as a solver sees them: centred, and with far fewer rows than features in a basis.

    Attributes:
        points: ``(n, d) float32``: the rows, not centred, or their coordinates, which are.
        centre: ``(d,) float32``, where scores equal the intercept.
        axes: ``(d, q) float32``, orthonormal columns.
        variances: ``(q,) float64``, the mean square of the centred points along each axis.
        rest: the mean square along a direction across the axes.
        origin: ``(D,) float32``, `centre` among the rows.
        basis: ``(D, d) float32``, orthonormal columns; None if points are rows, and so ``d = D``.
    """

    points: Features
    centre: Array
    axes: Array
    variances: NDArray[np.float64]
    rest: float
    origin: Array
    basis: Array | None = None

    @classmethod
    def of(cls, rows: Features) -> RowSpace:
        """Compute the space of rows ``(n, D)``, which may stay on disk."""
        n, d = rows.shape
        sample = rows[np.arange(0, n, -(-n // SAMPLE))]
        origin: Array = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        sample = sample - origin
        with one_thread_each():
            if 2 * n < d and not isinstance(rows, StoredRows):
                return cls._of_few(sample, origin)
            axes, variances = main_axes(sample, min(AXES, d))
        total = float(np.einsum("ij,ij->", sample, sample, dtype=np.float64)) / len(sample)
        rest = max(total - float(variances.sum()), 0.0) / max(d - len(variances), 1)
        return cls(rows, origin, axes, variances, rest, origin)

    @classmethod
    def _of_few(cls, centred: Array, origin: Array) -> RowSpace:
        squares, left = np.linalg.eigh(centred @ centred.T)
        kept = squares > NEGLIGIBLE * max(squares[-1], np.finfo(np.float32).tiny)
        lengths = np.sqrt(squares[kept])
        points, basis = left[:, kept] * lengths, centred.T @ (left[:, kept] / lengths)
        count = len(lengths)
        variances = squares[kept].astype(np.float64) / len(centred)
        nothing = np.zeros(count, np.float32)
        return cls(points, nothing, np.eye(count, dtype=np.float32), variances, 0.0, origin, basis)

    def to_rows(self, coefficients: Array) -> tuple[Array, Array]:
        """Convert ``(d + 1, m)``, the last row intercepts, to weights ``(D, m)`` and ``(m,)``."""
        weights = coefficients[:-1] if self.basis is None else self.basis @ coefficients[:-1]
        return weights, coefficients[-1] - self.origin @ weights

    def from_rows(self, weights: Array, intercepts: Array) -> Array:
        """Convert weights and intercepts of rows to coefficients of this space."""
        own = weights if self.basis is None else self.basis.T @ weights
        return np.vstack([own, intercepts + self.origin @ weights])
