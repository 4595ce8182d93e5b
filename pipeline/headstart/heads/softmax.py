"""Multinomial logistic regression on all folds at once, by a preconditioned Newton method.

The folds share the rows, so products of rows and coefficients are computed for all folds and
classes together; a weight of 0 takes a row out of a fold. Newton steps use conjugate gradients
(Dembo and Steihaug, *Truncated-Newton algorithms for large-scale unconstrained optimization*,
1983). On principal axes the Hessian is nearly diagonal (Böhning, *Multinomial logistic regression
algorithm*, 1992), so its diagonal is the preconditioner and iterations hardly grow with C.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each
from headstart.core.rows import StoredRows
from headstart.heads.principal_axes import RowSpace

Array = NDArray[np.float32]

BLOCK = 1024  # approximate rows that a thread processes at once
BLOCKS = 32  # upper limit: each block holds a gradient until they are added
STREAMED = 8192  # approximate rows of a block read from disk
SHARES = 4  # the number of blocks is a multiple, so two or four threads get equal work
# Largest distance to the minimum, in nats a row by Newton's estimate, for C of 1 or more. Below,
# scores shrink in proportion to C and the cost of their errors with its square.
TOLERANCE = 1e-5
LEAST_TOLERANCE = 1e-8
MAX_NEWTON = 100
MAX_GRADIENTS = 200  # conjugate gradients in one Newton step
FORCING = 0.3  # how far a Newton step reduces the residual
OUT = np.float32(-1e30)  # the score of a class without training rows


@dataclass(frozen=True)
class Problem:
    """The same regression on several weightings of the same rows.

    ``labels`` are ``(n,)`` codes, and ``weights``, ``(n, f) float32``, hold the weight of each row
    in each fold. The result does not depend on ``workers``, the number of threads.
    """

    space: RowSpace
    labels: NDArray[np.int64]
    weights: Array
    n_classes: int
    workers: int = 1
    offsets: Array = field(init=False)

    def __post_init__(self) -> None:
        # The offset rules out classes that a fold lacks.
        totals = np.zeros((self.n_classes, self.weights.shape[1]))
        np.add.at(totals, self.labels, self.weights)
        object.__setattr__(self, "offsets", np.where(totals.T > 0, np.float32(0), OUT))

    def solve(self, c: float, start: Solution | None = None) -> Solution:
        """Minimise ``sum of weighted log losses + squared norm / (2 c)``, intercepts free.

        With two classes, scikit-learn penalises the single difference of the two vectors here, so
        the penalty is doubled to match it. ``start`` may be the solution for a smaller ``c``.
        """
        shape = (self.weights.shape[1], len(self.space.variances) + 1, self.n_classes)
        classes = (self.offsets == 0).sum(axis=1)
        ridge = np.where(classes == 2, 2.0 / c, 1.0 / c).astype(np.float32)
        begin = np.zeros(shape, np.float32) if start is None else start.coefficients
        with one_thread_each(), ThreadPoolExecutor(self.workers) as pool:
            tolerance = max(LEAST_TOLERANCE, TOLERANCE * min(1.0, c) ** 2)
            return _Newton(self, ridge, pool).run(begin, tolerance)


@dataclass(frozen=True)
class Solution:
    """The minimum for one C.

    Attributes:
        coefficients: ``(f, r + 1, k)``, the last row the intercepts.
        probabilities: ``(n, f, k)``, of all rows, including those of weight 0.
        passes: passes through all rows.
    """

    coefficients: Array
    probabilities: Array
    passes: int

    def without_probabilities(self) -> Solution:
        """Return the solution without its large array, which a later start does not need."""
        return dataclasses.replace(self, probabilities=np.empty((0, 0, 0), np.float32))


class _Newton:
    """One minimisation; its methods pass through the rows block by block in threads."""

    def __init__(self, problem: Problem, ridge: Array, pool: ThreadPoolExecutor) -> None:
        self.problem = problem
        self.ridge = ridge[:, None, None]
        self.pool = pool
        n, folds = problem.weights.shape
        count = SHARES * min(BLOCKS // SHARES, -(-n // (SHARES * BLOCK)))
        if isinstance(problem.space.points, StoredRows):
            count = -(-n // STREAMED)
        size = -(-n // count)
        self.blocks = [slice(i, min(i + size, n)) for i in range(0, n, size)]
        self.probabilities = np.empty((n, folds, problem.n_classes), np.float32)
        self.totals = problem.weights.sum(axis=0, dtype=np.float64)
        self.passes = 0

    def run(self, coefficients: Array, tolerance: float) -> Solution:
        loss, gradient = self._evaluate(coefficients)
        for _ in range(MAX_NEWTON):
            diagonal = self._diagonal()
            decrement = _dot(gradient, gradient / diagonal) / 2
            active = decrement > tolerance * self.totals
            if not active.any():
                break
            step = np.zeros_like(gradient)
            step[active] = self._step(gradient[active], diagonal[active], active)
            slope = _dot(gradient, step)
            scale = np.ones(len(loss), np.float32)
            while True:
                tried = coefficients + scale[:, None, None] * step
                tried_loss, tried_gradient = self._evaluate(tried)
                # float32 resolves the loss to about six digits.
                worse = tried_loss > loss + 1e-4 * scale * slope + 1e-6 * np.abs(loss)
                if not worse.any():
                    break
                scale[worse] *= np.float32(0.25)
                scale[scale < 1e-6] = 0.0
            # float32 resolves no smaller descent.
            stuck = loss - tried_loss < 1e-7 * np.abs(loss)
            coefficients, loss, gradient = tried, tried_loss, tried_gradient
            if stuck[active].all():
                break
        return Solution(coefficients, self.probabilities, self.passes)

    def _step(self, gradient: Array, diagonal: Array, active: NDArray[np.bool_]) -> Array:
        step = np.zeros_like(gradient)
        residual = -gradient
        direction = residual / diagonal
        old = _dot(residual, direction)
        goal = FORCING**2 * old
        for _ in range(MAX_GRADIENTS):
            curved = self._hessian(direction, active)
            curvature = _dot(direction, curved)
            going = (old > goal) & (curvature > 0)
            alpha = _ratio(old, curvature, going)
            step += alpha * direction
            residual -= alpha * curved
            preconditioned = residual / diagonal
            new = _dot(residual, preconditioned)
            if not (going & (new > goal)).any():
                break
            direction = preconditioned + _ratio(new, old, going) * direction
            old = np.where(going, new, 0.0)
        return step

    def _evaluate(self, coefficients: Array) -> tuple[NDArray[np.float64], Array]:
        problem = self.problem
        folds, k = len(coefficients), problem.n_classes
        weights = problem.weights

        def work(rows: slice, scores: Array) -> tuple[NDArray[np.float64], Array]:
            scores += problem.offsets
            scores -= scores.max(axis=2, keepdims=True)
            of_true = scores[np.arange(len(scores)), :, problem.labels[rows]]
            np.exp(scores, out=scores)
            sums = scores.sum(axis=2)
            scores /= sums[:, :, None]
            self.probabilities[rows] = scores
            losses = np.log(sums)
            losses -= of_true
            losses *= weights[rows]
            scores[np.arange(len(scores)), :, problem.labels[rows]] -= 1
            scores *= weights[rows][:, :, None]
            return losses.sum(axis=0, dtype=np.float64), scores.reshape(len(scores), folds * k)

        losses, gradient = self._through(coefficients, work)
        gradient[:, :-1] += self.ridge * coefficients[:, :-1]
        penalty = self.ridge[:, 0, 0] * _dot(coefficients[:, :-1], coefficients[:, :-1]) / 2
        return losses + penalty, gradient

    def _hessian(self, direction: Array, active: NDArray[np.bool_]) -> Array:
        folds = slice(None) if active.all() else np.flatnonzero(active)

        def work(rows: slice, scores: Array) -> tuple[NDArray[np.float64], Array]:
            chances = self.probabilities[rows][:, folds]
            scores -= np.einsum("nfk,nfk->nf", scores, chances)[:, :, None]
            scores *= chances
            scores *= self.problem.weights[rows][:, folds, None]
            return np.zeros(1), scores.reshape(len(scores), -1)

        _, curved = self._through(direction, work)
        curved[:, :-1] += self.ridge[folds] * direction[:, :-1]
        return curved

    def _through(
        self,
        coefficients: Array,
        work: Callable[[slice, Array], tuple[NDArray[np.float64], Array]],
    ) -> tuple[NDArray[np.float64], Array]:
        """Multiply rows and coefficients, work on the scores, and multiply with the rows again."""
        self.passes += 1
        space = self.problem.space
        folds, r, k = coefficients.shape
        flat = np.ascontiguousarray(coefficients.transpose(1, 0, 2)).reshape(r, folds * k)
        weights, intercepts = space.on_points(flat[:-1], flat[-1])

        def of_block(rows: slice) -> tuple[NDArray[np.float64], Array, Array]:
            points = space.points[rows]
            scores = points @ weights
            scores += intercepts
            losses, back = work(rows, scores.reshape(-1, folds, k))
            return losses, points.T @ back, back.sum(axis=0)

        losses, products, sums = next(parts := self.pool.map(of_block, self.blocks))
        for more_losses, more_products, more_sums in parts:
            losses += more_losses
            products += more_products
            sums += more_sums
        gradient = np.vstack([space.on_axes(products, sums), sums])
        return losses, np.ascontiguousarray(gradient.reshape(r, folds, k).transpose(1, 0, 2))

    def _diagonal(self) -> Array:
        """Return the preconditioner, ``(f, r + 1, k)``: about the Hessian's diagonal."""
        weights = self.problem.weights
        spread = np.zeros(self.probabilities.shape[1:], np.float64)
        for rows in self.blocks:
            chances = self.probabilities[rows]
            spread += np.einsum("nfk,nfk,nf->fk", chances, 1 - chances, weights[rows])
        diagonal = np.empty((len(spread), len(self.problem.space.variances) + 1, spread.shape[1]))
        diagonal[:, :-1] = self.problem.space.variances[:, None] * spread[:, None] + self.ridge
        diagonal[:, -1] = np.where(spread > 0, spread, 1.0)
        return diagonal.astype(np.float32)


def _dot(left: Array, right: Array) -> NDArray[np.float64]:
    folds = len(left)
    products: NDArray[np.float64] = np.einsum(
        "fi,fi->f", left.reshape(folds, -1), right.reshape(folds, -1)
    ).astype(np.float64)
    return products


def _ratio(
    over: NDArray[np.float64], under: NDArray[np.float64], where: NDArray[np.bool_]
) -> Array:
    """Return ``over / under``, and 0 outside ``where``, shaped to scale ``(f, r + 1, k)``."""
    quotient = np.divide(over, under, out=np.zeros_like(over), where=where & (under > 0))
    return quotient.astype(np.float32)[:, None, None]
