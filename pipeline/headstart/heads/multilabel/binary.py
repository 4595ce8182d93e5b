"""Many binary logistic regressions on the same rows at once: every label on every fold.

The method is that of `headstart.heads.softmax`; a label of a fold is what a fold is there, with one
column of scores instead of one for each class.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each
from headstart.heads.principal_axes import RowSpace
from headstart.heads.softmax import LEAST_TOLERANCE, Array, Newton, Solution

# As in `headstart.heads.softmax`, but closer: whether a label is present turns on one score's sign.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class BinaryProblems:
    """``m`` regressions of targets 0 and 1, ``(n, m) float32``, with weights of the same shape."""

    space: RowSpace
    targets: Array
    weights: Array
    workers: int = 1
    n_classes: int = 1

    def solve(self, c: float | Array, start: Array | None = None) -> Solution:
        """Minimise ``sum of weighted log losses + squared norm / (2 c)``, intercepts free.

        ``c`` is a number, or ``(m,)``. ``start`` are coefficients near the minimum, ``(d + 1, m,
        1)``, as those of the solution. A problem whose weights are all 0 keeps its start.
        """
        m = self.weights.shape[1]
        costs = np.broadcast_to(np.asarray(c, np.float64), (m,))
        begin = np.zeros((len(self.space.centre) + 1, m, 1), np.float32) if start is None else start
        tolerance = np.maximum(LEAST_TOLERANCE, TOLERANCE * np.minimum(1.0, costs) ** 2)
        with one_thread_each(), ThreadPoolExecutor(self.workers) as pool:
            return _Sigmoids(self, (1 / costs).astype(np.float32), pool).run(begin, tolerance)


class _Sigmoids(Newton):
    problem: BinaryProblems

    def losses(self, rows: slice, scores: Array) -> tuple[NDArray[np.float64], Array]:
        flat = scores[:, :, 0]
        targets, weights = self.problem.targets[rows], self.problem.weights[rows]
        small = np.exp(-np.abs(flat))
        losses = np.log1p(small)
        losses += np.maximum(flat, 0)
        losses -= targets * flat
        losses *= weights
        chances = np.where(flat >= 0, np.float32(1), small) / (1 + small)
        self.probabilities[rows, :, 0] = chances
        return losses.sum(axis=0, dtype=np.float64), (chances - targets) * weights

    def bend(self, scores: Array, chances: Array) -> None:
        scores *= chances * (1 - chances)
