"""Multinomial logistic regression on all folds at once, by a preconditioned Newton method.

The folds share the rows, so products of rows and coefficients are computed for all folds and
classes together; a weight of 0 takes a row out of a fold. Newton steps use conjugate gradients
(Dembo and Steihaug, *Truncated-Newton algorithms for large-scale unconstrained optimization*,
1983). On the rows' main axes the Hessian is nearly diagonal (Böhning, *Multinomial logistic
regression algorithm*, 1992), which preconditions them: iterations hardly grow with C.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import one_thread_each
from headstart.core.rows import StoredRows
from headstart.heads.principal_axes import RowSpace

Array = NDArray[np.float32]

BLOCK = 1024  # approximate rows that a thread processes at once
BLOCKS = 32  # upper limit: each block holds a gradient until they are added
STREAMED = 2048  # approximate rows of a block read from disk: what stays in a core's cache
SHARES = 4  # the number of blocks is a multiple, so two or four threads get equal work
# Largest distance to the minimum, in nats a row by Newton's estimate, for C of 1 or more. Below,
# scores shrink in proportion to C and the cost of their errors with its square.
TOLERANCE = 1e-5
LEAST_TOLERANCE = 1e-8
MAX_NEWTON = 100
MAX_GRADIENTS = 200  # conjugate gradients in one Newton step
FORCING = 0.3  # how far a Newton step reduces the residual
OUT = np.float32(-1e30)  # the score of a class without training rows


class Regression(Protocol):
    """What a minimisation needs of a problem; see `Problem`."""

    @property
    def space(self) -> RowSpace:
        """The rows."""

    @property
    def weights(self) -> Array:
        """The weight of each row in each fold, ``(n, f) float32``."""

    @property
    def n_classes(self) -> int:
        """The number of columns of scores, k."""


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

    def solve(self, c: float, start: Array | None = None) -> Solution:
        """Minimise ``sum of weighted log losses + squared norm / (2 c)``, intercepts free.

        With two classes, scikit-learn penalises the single difference of the two vectors here, so
        the penalty is doubled to match it. ``start`` are coefficients near the minimum.
        """
        shape = (len(self.space.centre) + 1, self.weights.shape[1], self.n_classes)
        classes = (self.offsets == 0).sum(axis=1)
        ridge = np.where(classes == 2, 2.0 / c, 1.0 / c).astype(np.float32)
        begin = np.zeros(shape, np.float32) if start is None else start
        with one_thread_each(), ThreadPoolExecutor(self.workers) as pool:
            tolerance = max(LEAST_TOLERANCE, TOLERANCE * min(1.0, c) ** 2)
            return Newton(self, ridge, pool).run(begin, tolerance)


@dataclass(frozen=True)
class Solution:
    """The minimum for one C.

    Attributes:
        coefficients: ``(d + 1, f, k)``, the last row the intercepts.
        probabilities: ``(n, f, k)``, of all rows, including those of weight 0.
        passes: passes through all rows.
    """

    coefficients: Array
    probabilities: Array
    passes: int


class Newton:
    """One minimisation; its methods pass through the rows block by block in threads.

    `headstart.heads.multilabel.binary` overrides the loss and the curvature of the scores.
    """

    def __init__(self, problem: Regression, ridge: Array, pool: ThreadPoolExecutor) -> None:
        self.problem = problem
        self.ridge = ridge[:, None]
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

    def run(self, coefficients: Array, tolerance: float | NDArray[np.float64]) -> Solution:
        """Minimise from these coefficients on, to a distance ``(f,)`` in nats a row."""
        loss, gradient = self._evaluate(coefficients)
        for _ in range(MAX_NEWTON):
            precondition = self._preconditioner()
            decrement = _dot(gradient, precondition(gradient)) / 2
            active = decrement > tolerance * self.totals
            if not active.any():
                break
            step = np.zeros_like(gradient)
            step[:, active] = self._step(gradient[:, active], precondition.of(active), active)
            slope = _dot(gradient, step)
            scale = np.ones(len(loss), np.float32)
            while True:
                tried = coefficients + scale[:, None] * step
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

    def _step(
        self, gradient: Array, precondition: _Preconditioner, active: NDArray[np.bool_]
    ) -> Array:
        step = np.zeros_like(gradient)
        residual = -gradient
        direction = precondition(residual)
        old = _dot(residual, direction)
        goal = FORCING**2 * old
        for _ in range(MAX_GRADIENTS):
            curved = self._hessian(direction, active)
            curvature = _dot(direction, curved)
            going = (old > goal) & (curvature > 0)
            alpha = _ratio(old, curvature, going)
            step += alpha * direction
            residual -= alpha * curved
            preconditioned = precondition(residual)
            new = _dot(residual, preconditioned)
            if not (going & (new > goal)).any():
                break
            direction = preconditioned + _ratio(new, old, going) * direction
            old = np.where(going, new, 0.0)
        return step

    def _evaluate(self, coefficients: Array) -> tuple[NDArray[np.float64], Array]:
        losses, gradient = self._through(coefficients, self.losses)
        gradient[:-1] += self.ridge * coefficients[:-1]
        penalty = self.ridge[:, 0] * _dot(coefficients[:-1], coefficients[:-1]) / 2
        return losses + penalty, gradient

    def losses(self, rows: slice, scores: Array) -> tuple[NDArray[np.float64], Array]:
        """Return the losses of scores ``(b, f, k)``, ``(f,)``, and their slopes, ``(b, f k)``.

        The probabilities of these rows are kept.
        """
        problem = self.problem
        assert isinstance(problem, Problem)
        weights = problem.weights
        scores += problem.offsets
        # numpy takes ten times as long for the largest of a short last axis.
        columns = np.ascontiguousarray(scores.reshape(-1, problem.n_classes).T)
        scores -= columns.max(axis=0).reshape(*scores.shape[:2], 1)
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
        return losses.sum(axis=0, dtype=np.float64), scores.reshape(len(scores), -1)

    def bend(self, scores: Array, chances: Array) -> None:
        """Multiply scores ``(b, f, k)`` with the loss's curvature at these probabilities."""
        scores -= np.einsum("nfk,nfk->nf", scores, chances)[:, :, None]
        scores *= chances

    def _hessian(self, direction: Array, active: NDArray[np.bool_]) -> Array:
        folds = slice(None) if active.all() else np.flatnonzero(active)

        def work(rows: slice, scores: Array) -> tuple[NDArray[np.float64], Array]:
            chances = self.probabilities[rows][:, folds]
            self.bend(scores, chances)
            scores *= self.problem.weights[rows][:, folds, None]
            return np.zeros(1), scores.reshape(len(scores), -1)

        _, curved = self._through(direction, work)
        curved[:-1] += self.ridge[folds] * direction[:-1]
        return curved

    def _through(
        self,
        coefficients: Array,
        work: Callable[[slice, Array], tuple[NDArray[np.float64], Array]],
    ) -> tuple[NDArray[np.float64], Array]:
        """Multiply rows and coefficients, work on the scores, and multiply with the rows again."""
        self.passes += 1
        space = self.problem.space
        folds, k = coefficients.shape[1:]
        flat = coefficients.reshape(len(coefficients), folds * k)
        weights, intercepts = flat[:-1], flat[-1] - space.centre @ flat[:-1]

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
        products -= np.outer(space.centre, sums)
        return losses, np.vstack([products, sums]).reshape(coefficients.shape)

    def _preconditioner(self) -> _Preconditioner:
        weights = self.problem.weights
        spread = np.zeros(self.probabilities.shape[1:], np.float64)
        for rows in self.blocks:
            chances = self.probabilities[rows]
            spread += np.einsum("nfk,nfk,nf->fk", chances, 1 - chances, weights[rows])
        space = self.problem.space
        along = 1 / (space.variances[:, None, None] * spread + self.ridge)
        across = 1 / (space.rest * spread + self.ridge)
        intercepts = 1 / np.where(spread > 0, spread, 1.0)
        parts = ((along - across), across, intercepts)
        return _Preconditioner(space.axes, *(part.astype(np.float32) for part in parts))


class _Preconditioner(NamedTuple):
    """About the inverse of the Hessian: diagonal on the main axes, constant across them.

    ``along`` is ``(q, f, k)``, in excess of ``across``, ``(f, k)``, as are ``intercepts``.
    """

    axes: Array
    along: Array
    across: Array
    intercepts: Array

    def __call__(self, gradient: Array) -> Array:
        columns = self.across.size
        weights = gradient[:-1].reshape(len(gradient) - 1, columns)
        turned = (self.axes.T @ weights) * self.along.reshape(len(self.along), columns)
        product = np.empty_like(gradient)
        np.multiply(gradient[:-1], self.across, out=product[:-1])
        product[:-1] += (self.axes @ turned).reshape(product[:-1].shape)
        product[-1] = gradient[-1] * self.intercepts
        return product

    def of(self, folds: NDArray[np.bool_]) -> _Preconditioner:
        """Return the preconditioner of some folds."""
        along = np.ascontiguousarray(self.along[:, folds])
        return _Preconditioner(self.axes, along, self.across[folds], self.intercepts[folds])


def _dot(left: Array, right: Array) -> NDArray[np.float64]:
    products: NDArray[np.float64] = (left * right).sum(axis=(0, 2), dtype=np.float64)
    return products


def _ratio(
    over: NDArray[np.float64], under: NDArray[np.float64], where: NDArray[np.bool_]
) -> Array:
    """Return ``over / under``, and 0 outside ``where``, shaped to scale ``(d + 1, f, k)``."""
    quotient = np.divide(over, under, out=np.zeros_like(over), where=where & (under > 0))
    return quotient.astype(np.float32)[:, None]
