"""Calibrated probabilities: a softmax of a head's own values, fitted on out-of-fold values.

Three links turn values into log scores with one slope: pairwise values of an SVM are coupled, votes
of neighbours and fitted targets are smoothed, and other scores are scaled (temperature scaling: Guo
et al., *On Calibration of Modern Neural Networks*, ICML 2017). A bias for each class follows, with
a Gaussian prior around 0 (bias-corrected temperature scaling: Alexandari, Kundaje and Shrikumar,
*Maximum Likelihood with Bias-Corrected Calibration*, ICML 2020). docs/decisions/0160 and 0173
compare alternatives.

The probabilities of the training images are cross-fitted: the parameters that calibrate an image
were fitted on the other folds, so its label played no part in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads.ovo import coupled
from headstart.heads.training_set import TrainingSet

PAIRS, SHARES, SCORES = ("pairs", "shares", "scores")
MAX_CELLS = 1_000_000  # values that a slope is fitted on, and log scores that biases are
SLOPES = (-3.0, 6.0)  # logarithms, in units of 1 / deviation of the values
SMOOTHING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # added to shares among ten classes; less among more
PRECISION = 2.0  # of the prior of a bias
ROUNDS = 2  # of fitting the slope, then the biases
PARTS = 5  # of a single fold, for cross-fitting
NEWTON = 50  # steps for the biases, of which few are needed

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """The parameters that turn values into probabilities.

    Attributes:
        link: ``pairs``: values ``(n, k (k - 1) / 2)``, positive for a pair's first class, become
            ``-log(1 + sum over j of exp(-slope f_ij))``; ``shares`` ``(n, k)``, of votes or
            fitted to targets of 0 and 1, become ``slope * log(max(share, 0) + smoothing)``;
            ``scores`` ``(n, k)`` are multiplied by the slope.
        bias: ``(k,)``, added to the logarithms before the softmax.
    """

    link: str
    slope: float
    bias: NDArray[np.float64]
    smoothing: float = 0.0

    def log_scores(self, values: Values) -> NDArray[np.float64]:
        """Return ``(n, k)`` logarithms whose softmax are the probabilities."""
        return _linked(self.link, values, self.slope, self.smoothing, len(self.bias)) + self.bias

    def probabilities(self, values: Values) -> NDArray[np.float64]:
        """Return ``(n, k)``."""
        return softmax(self.log_scores(values))


def softmax(logs: Values) -> NDArray[np.float64]:
    """Return the softmax of each row; ``-inf`` gives 0."""
    chances: NDArray[np.float64] = np.exp(logs - logs.max(axis=1, keepdims=True), dtype=np.float64)
    chances /= chances.sum(axis=1, keepdims=True)
    return chances


def calibrate(
    link: str, parts: Sequence[Values], data: TrainingSet
) -> tuple[Calibration, list[NDArray[np.float64]]]:
    """Fit a calibration on the values of the rows that each fold holds out.

    The values have a column for each of ``data.n_classes`` codes; pairs are those of the codes that
    have training images, and NaN where a fold has no row of one of the two.

    Returns:
        The calibration, for codes with training images, and the folds' cross-fitted probabilities,
        ``(held out, n_classes)``.
    """
    codes = np.unique(data.labels)
    weights = data.weights(np.arange(len(data.labels)))
    values, rows = _stacked(link, parts, data)
    true = np.searchsorted(codes, data.labels[rows])
    division = _division(data)[rows]

    def fitted(chosen: NDArray[np.bool_], near: Calibration | None = None) -> Calibration:
        some = np.flatnonzero(chosen)
        some = some[:: -(-len(some) * len(codes) // MAX_CELLS)]
        return fit(link, values[some], true[some], len(codes), weights[rows[some]], near)

    final = fitted(np.ones(len(rows), bool))
    probabilities = np.zeros((len(rows), data.n_classes))

    def cross_fit(number: np.int64) -> None:
        own = division == number
        other = final if own.all() else fitted(~own, final)
        probabilities[np.ix_(own, codes)] = other.probabilities(values[own])

    run_parallel(cross_fit, np.unique(division), data.workers)
    return final, np.split(probabilities, np.cumsum([len(part) for part in parts])[:-1])


def least_loss(link: str, parts: Sequence[Values], data: TrainingSet) -> float:
    """Return the out-of-fold log loss after scaling alone, by which candidates are compared."""
    codes = np.unique(data.labels)
    values, rows = _stacked(link, parts, data)
    step = -(-values.size // (MAX_CELLS // 4))
    values, rows = values[::step], rows[::step]
    smoothing = _smoothing(link, len(codes))
    true = np.searchsorted(codes, data.labels[rows])
    middle = smoothing[(len(smoothing) - 1) // 2]
    return _scaled(link, values, true, np.zeros(len(codes)), np.ones(len(true)), middle)[0]


def _stacked(
    link: str, parts: Sequence[Values], data: TrainingSet
) -> tuple[Values, NDArray[np.intp]]:
    """Return all folds' values, NaN for classes that a fold was not trained on, and their rows."""
    rows = np.concatenate([held_out for _, held_out in data.folds])
    if link == PAIRS:
        return np.concatenate(parts), rows
    codes = np.unique(data.labels)
    stacked = []
    for part, (fit_rows, _) in zip(parts, data.folds, strict=True):
        trained = np.isin(codes, data.labels[fit_rows])
        values = part[:, codes]
        stacked.append(values if trained.all() else np.where(trained, values, np.nan))
    return np.concatenate(stacked), rows


def _smoothing(link: str, k: int) -> list[float]:
    return [min(1.0, 10 / k) * each for each in SMOOTHING] if link == SHARES else [0.0]


def fit(
    link: str,
    values: Values,
    true: NDArray[np.intp],
    k: int,
    weights: NDArray[np.floating],
    near: Calibration | None = None,
) -> Calibration:
    """Return the calibration of least log loss for ``(n, m)`` values and columns ``(n,)``.

    Rows whose class their fold was not trained on do not count. If ``near`` is the calibration of
    almost the same rows, its smoothing is taken. Many pairs have their slope fitted on a part of
    the rows; the biases, one for each class, need all of them.
    """
    bias, slope, best = np.zeros(k), 0.0, 0.0
    smoothing = _smoothing(link, k) if near is None else [near.smoothing]
    bounds, step = SLOPES, -(-values.size // MAX_CELLS)
    part, of_part, weight = values[::step], true[::step], weights[::step]
    for _ in range(ROUNDS):
        tried = [_scaled(link, part, of_part, bias, weight, each, bounds) for each in smoothing]
        _, slope, best = min(tried)
        bias = _bias(_linked(link, values, slope, best, k), true, weights)
        smoothing, bounds = [best], _around(slope * _unit(link, part))
    return Calibration(link, slope, bias, best)


def _around(slope: float) -> tuple[float, float]:
    centre = float(np.log(slope))
    return centre - 0.4, centre + 0.4


def _unit(link: str, values: Values) -> float:
    """Return the deviation of scores, which have no unit of their own, or 1."""
    finite = values[np.isfinite(values)] if link == SCORES else values[:0]
    return max(float(finite.std()), 1e-6) if finite.size else 1.0


def _division(data: TrainingSet) -> NDArray[np.int64]:
    """Return the part of each row for cross-fitting: its fold, or a fifth of a single fold."""
    division: NDArray[np.int64] = np.atleast_2d(data.fold)[0]
    if len(np.unique(division[division >= 0])) > 1:
        return division
    single: NDArray[np.int64] = np.arange(len(division)) % PARTS
    return single


def _scaled(
    link: str,
    values: Values,
    true: NDArray[np.intp],
    bias: NDArray[np.float64],
    weights: NDArray[np.floating],
    smoothing: float,
    bounds: tuple[float, float] = SLOPES,
) -> tuple[float, float, float]:
    """Return least log loss, slope and smoothing, given the biases."""
    unit = _unit(link, values)

    def logs_at(x: float) -> NDArray[np.float64]:
        logs = _linked(link, values, float(np.exp(x)) / unit, smoothing, len(bias))
        logs += bias
        return logs

    targets = _Targets.of(np.isfinite(logs_at(bounds[0])), true, weights)  # at every slope

    def loss(x: float) -> float:
        return targets.loss(logs_at(x))[0]

    x, value = _least(loss, bounds)
    return value, float(np.exp(x)) / unit, smoothing


def _least(loss: Callable[[float], float], bounds: tuple[float, float]) -> tuple[float, float]:
    from scipy.optimize import minimize_scalar

    result = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.03})
    return float(result.x), float(result.fun)


def _bias(
    logs: NDArray[np.float64], true: NDArray[np.intp], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the biases of least log loss plus prior, ``(k,)``, which is convex."""
    targets = _Targets.of(np.isfinite(logs), true, weights)
    prior = PRECISION / float(weights.sum())

    def evaluate(bias: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, chances = targets.loss(logs + bias)
        return loss + prior * float(bias @ bias) / 2, chances

    bias = np.zeros(logs.shape[1])
    loss, chances = evaluate(bias)
    for _ in range(NEWTON):
        weighted = chances * targets.counted[:, None]
        gradient = weighted.sum(axis=0) - targets.shares + prior * bias
        hessian = np.diag(weighted.sum(axis=0) + prior) - weighted.T @ chances
        step = -np.linalg.solve(hessian, gradient)
        slope = float(gradient @ step)
        if slope > -1e-9:
            break
        scale = 1.0
        while (tried := evaluate(bias + scale * step))[0] > loss + 1e-4 * scale * slope:
            scale /= 2
            if scale < 1e-6:
                return bias
        bias, (loss, chances) = bias + scale * step, tried
    return bias


class _Targets(NamedTuple):
    """What rows should get, where scores are finite: the class of each, smoothed.

    As in Platt, *Probabilistic Outputs for Support Vector Machines*, 1999, targets are smoothed, by
    one image in all, so that no probability reaches 0 or 1.

    Attributes:
        targets: ``(n, k)``; rows sum to 1.
        counted: ``(n,)``, what each row counts, which sums to 1.
        shares: ``(k,)``, the mean targets.
        closed: ``(n, k)``, where no score is finite; None if all are.
    """

    targets: NDArray[np.float64]
    counted: NDArray[np.float64]
    shares: NDArray[np.float64]
    closed: NDArray[np.bool_] | None

    @classmethod
    def of(
        cls, finite: NDArray[np.bool_], true: NDArray[np.intp], weights: NDArray[np.floating]
    ) -> _Targets:
        n, k = finite.shape
        rows = np.arange(n)
        counted = np.where(finite[rows, true], weights, 0.0)
        counted = counted / max(float(counted.sum()), 1e-30)
        targets = np.where(finite, 1.0 / (n * k), 0.0)
        targets[rows, true] += 1.0
        targets /= targets.sum(axis=1, keepdims=True)
        return cls(targets, counted, counted @ targets, None if finite.all() else ~finite)

    def loss(self, logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the log loss of scores, which are overwritten, and their softmax."""
        logs -= logs.max(axis=1, keepdims=True)
        chances = np.exp(logs)
        sums = chances.sum(axis=1, keepdims=True)
        chances /= sums
        if self.closed is not None:
            logs[self.closed] = 0.0
        losses = np.log(sums[:, 0]) - np.einsum("ij,ij->i", self.targets, logs)
        return float(self.counted @ np.where(self.counted > 0, losses, 0.0)), chances


def _linked(
    link: str, values: Values, slope: float, smoothing: float, k: int
) -> NDArray[np.float64]:
    if link == PAIRS:
        return coupled(values, k, slope)
    logs = values.astype(np.float64)
    if link == SHARES:
        logs = np.log(np.maximum(logs, 0.0) + smoothing)
    logs *= slope
    logs[np.isnan(logs)] = -np.inf
    return logs
