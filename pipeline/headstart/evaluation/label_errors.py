"""Label errors, in tiers with the share of true errors to expect in each.

Two linear models judge the labels together, logistic regression and ridge regression on the square
roots of the features; together they separate similar classes best. How many labels are wrong cannot
be counted from doubtful images alone, because hard images are doubtful too. But the probabilities
of hard images fall off as a calibrated model's do, while wrong labels add a floor below which it
does not fall. So one temperature and the rate of wrong labels are fitted together, by maximum
likelihood, to the labels as they are:

    P(label | image) = (1 - rate) softmax(scores)[label] + rate (1 - softmax(scores)[label]) / (k-1)

The second part's share is the probability that a label is wrong. Source of the noise model:
Bootkrajang and Kabán, *Label-noise robust logistic regression*, ECML 2012. Images outside the tiers
that confident learning suspects (Northcutt, Jiang and Chuang, JAIR 70, 2021) are listed
as hard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.cholesky import Cholesky
from headstart.core.linalg import squares
from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel

Scores = NDArray[np.float64]

TIERS = (("very likely", 0.8), ("likely", 0.5), ("possible", 0.2))
"""Names of tiers, and the least probability of an error in each."""
HARD = "hard image"  # the last tier: suspected, but probably right

MIN_CONFUSED = 0.15  # share of a class; classes that exchange so many images need a definition
MIN_IMAGES = 5  # so confused, each way

_RIDGE = 1.0  # of unit vectors
_SCALE = 8.0  # brings ridge scores, 0 to 1, to the range of logits
_TOLERANCE = 1e-6  # of a probability
_MOST = 300.0  # exponent of a score's advance over that of the label
_BLOCK = 8192  # rows that a thread judges at once
_QUANTILE = 1.92  # half of the 95 % quantile of chi squared with one degree of freedom


@dataclass(frozen=True)
class LabelErrors:
    """Verdicts on the labels of ``n`` images.

    Attributes:
        quality: ``(n,)`` 0 to 1, the calibrated probability of the given label; small is doubtful.
        suggested: ``(n,)`` codes of the most probable other class.
        suspects: rows of the images in tiers, most doubtful first.
        chance: ``(n,)`` probability that the label is wrong.
        highest: ``(n,)`` the same at the upper end of the 95 % interval of ``rate``.
        rate: estimated share of wrong labels.
    """

    quality: Scores
    suggested: NDArray[np.int64]
    suspects: NDArray[np.intp]
    chance: Scores
    highest: Scores
    rate: float

    def tier(self, row: int) -> str:
        """Return the name of an image's tier."""
        return next((name for name, least in TIERS if self.chance[row] >= least), HARD)


def suspects_of(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> NDArray[np.intp]:
    """Return the rows that confident learning suspects, given out-of-fold ``(n, k)``.

    A class is confident for an image if its probability is at least its mean over the images of
    the class. So many images as have another class as their most probable confident one are
    suspected, those with the smallest probability of their label first. A test compares the rows
    with those of cleanlab's filter ``low_self_confidence``.
    """
    codes, label = np.unique(labels, return_inverse=True)
    shares = probabilities[:, codes].astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    quality = shares[np.arange(len(label)), label]
    usual = np.bincount(label, weights=quality) / np.bincount(label)
    confident = np.where(shares >= usual - _TOLERANCE, shares, -1.0)
    other = confident.argmax(axis=1) != label
    other &= (confident.max(axis=1) >= 0) & (quality < shares.max(axis=1))
    ranked = np.argsort(quality, kind="stable")
    rows: NDArray[np.intp] = ranked[: np.count_nonzero(other)]
    return rows


def find(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    ridge: NDArray[np.floating] | None = None,
) -> LabelErrors:
    """Judge labels by out-of-fold probabilities and perhaps `ridge_scores`, ``(n, k)`` each."""
    codes, label = np.unique(labels, return_inverse=True)
    scores = np.log(np.maximum(probabilities[:, codes].astype(np.float64), 1e-6))
    scores = _at_its_temperature(scores, label)
    if ridge is not None:
        other = _SCALE * ridge[:, codes].astype(np.float64)
        scores = scores + _at_its_temperature(other, label)
    likelihood = _Likelihood(scores, label)
    log_temperature, rate, least = likelihood.fit()
    highest = likelihood.highest(rate, least)
    shares = np.exp(_log_softmax(np.exp(log_temperature) * scores))
    rows = np.arange(len(label))
    quality = shares[rows, label]
    others = shares.copy()
    others[rows, label] = -1
    chance = _chance(quality, rate, len(codes))
    listed = chance >= TIERS[-1][1]
    listed[suspects_of(labels, probabilities)] = True
    suspects = np.flatnonzero(listed)
    suspects = suspects[np.argsort(quality[suspects], kind="stable")]
    return LabelErrors(
        quality,
        codes[others.argmax(axis=1)].astype(np.int64),
        suspects,
        chance,
        _chance(quality, highest, len(codes)),
        rate,
    )


def ridge_scores(
    rows: NDArray[np.floating],
    labels: NDArray[np.integer],
    folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    n_classes: int,
) -> NDArray[np.float64]:
    """Return out-of-fold ridge regression on the classes, ``(n, k)``, NaN where never held out.

    ``rows``, ``(n, d)``, have norm 1. The folds share one Gram matrix, of the smaller side.
    """
    goals = np.eye(n_classes, dtype=rows.dtype)[labels]
    tall = len(rows) > rows.shape[1]
    gram = squares(rows) if tall else squares(rows.T)

    def answer(fold: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[Any]:
        fit, held_out = fold
        centre, mean = rows[fit].mean(axis=0), goals[fit].mean(axis=0)
        if tall:
            rest = rows[np.setdiff1d(np.arange(len(rows)), fit)]
            square = gram - rest.T @ rest - len(fit) * np.outer(centre, centre)
            weights = _solved(square, (rows[fit] - centre).T @ (goals[fit] - mean))
        else:
            across = gram[np.ix_(fit, fit)]
            centred = across - across.mean(axis=0) - across.mean(axis=1)[:, None] + across.mean()
            weights = (rows[fit] - centre).T @ _solved(centred, goals[fit] - mean)
        answers: NDArray[Any] = (rows[held_out] - centre) @ weights + mean
        return answers

    total, times = np.zeros((len(rows), n_classes)), np.zeros((len(rows), 1))
    for (_, held_out), answers in zip(
        folds, run_parallel(answer, folds, available_cores()), strict=True
    ):
        total[held_out] += answers
        times[held_out] += 1
    with np.errstate(invalid="ignore"):
        scores: NDArray[np.float64] = total / times
    return scores


def _solved(square: NDArray[Any], goal: NDArray[Any]) -> NDArray[Any]:
    square[np.diag_indices_from(square)] += _RIDGE
    return Cholesky(np.ascontiguousarray(square)).solve(goal)


def confused_both_ways(
    labels: NDArray[np.integer], errors: LabelErrors
) -> list[tuple[int, int, int, int]]:
    """Return pairs of classes that take many images from each other, most first.

    Each is two codes, how many images of the first look more like the second, and the reverse. That
    is a question of where one class ends, rather than of wrong labels.
    """
    k = int(max(labels.max(), errors.suggested.max())) + 1
    counts = np.zeros((k, k), np.int64)
    other = errors.quality < 0.5
    np.add.at(counts, (labels[other], errors.suggested[other]), 1)
    sizes = np.bincount(labels, minlength=k)
    pairs = [
        (a, b, int(counts[a, b]), int(counts[b, a]))
        for a in range(k)
        for b in range(a + 1, k)
        if min(counts[a, b], counts[b, a]) >= MIN_IMAGES
        and counts[a, b] + counts[b, a] >= MIN_CONFUSED * min(sizes[a], sizes[b])
    ]
    return sorted(pairs, key=lambda pair: -(pair[2] + pair[3]))


def _chance(quality: Scores, rate: float, k: int) -> Scores:
    """Return the probability that labels with these calibrated probabilities are wrong."""
    wrong = rate * (1 - quality) / max(k - 1, 1)
    chance: Scores = wrong / np.maximum((1 - rate) * quality + wrong, 1e-300)
    return chance


class _Likelihood:
    """The likelihood of labels, given scores ``(n, k)`` to be multiplied by a temperature.

    It takes the differences to the score of the label, ``(n, k)``, since the label's share is 1
    over the sum of their exponentials.
    """

    def __init__(self, scores: Scores, label: NDArray[np.integer]) -> None:
        self._above = scores - scores[np.arange(len(label)), label][:, None]
        self._others = max(scores.shape[1] - 1, 1)
        self._blocks = [slice(i, i + _BLOCK) for i in range(0, len(label), _BLOCK)]

    def loss(self, log_temperature: float, rate: float) -> tuple[float, Scores]:
        """Return minus the logarithm, and its slopes along both arguments."""
        temperature, others = np.exp(log_temperature), self._others

        def of_block(rows: slice) -> Scores:
            exponents = temperature * self._above[rows]
            np.minimum(exponents, _MOST, out=exponents)
            powers = np.exp(exponents)
            share = 1 / powers.sum(axis=1)
            slope = -share * share * np.einsum("ij,ij->i", exponents, powers)
            likelihood = (1 - rate) * share + rate * (1 - share) / others
            likelihood = np.maximum(likelihood, 1e-300)
            along = slope * (1 - rate - rate / others) / likelihood
            across = ((1 - share) / others - share) / likelihood
            return -np.array([np.log(likelihood).sum(), along.sum(), across.sum()])

        if len(self._blocks) == 1:  # starting threads would take longer
            sums = [of_block(self._blocks[0])]
        else:
            sums = run_parallel(of_block, self._blocks, available_cores(), numpy_alone=True)
        loss, *slopes = np.sum(sums, axis=0)
        return float(loss), np.array(slopes)

    def fit(self) -> tuple[float, float, float]:
        """Return logarithm of the temperature, rate and loss at which the labels are likeliest."""
        from scipy.optimize import minimize

        def loss(x: Scores) -> tuple[float, Scores]:
            rate = _rate(x[1])
            value, slopes = self.loss(x[0], rate)
            return value, slopes * (1, rate * (1 - 2 * rate))

        starts = [
            minimize(loss, [0.0, start], jac=True, method="L-BFGS-B", bounds=[(-6, 5), (-9, 4)])
            for start in (-3.0, -6.0)
        ]
        best = min(starts, key=lambda result: result.fun)
        return float(best.x[0]), _rate(best.x[1]), float(best.fun)

    def highest(self, rate: float, least: float) -> float:
        """Return the upper end of the 95 % interval of the rate by likelihood.

        ``least`` is the loss at the likeliest ``rate``.
        """
        from scipy.optimize import brentq, minimize_scalar

        def excess(rate: float) -> float:
            best = minimize_scalar(
                lambda t: self.loss(t, rate)[0], bounds=(-6, 5), method="bounded"
            )
            return float(best.fun) - least - _QUANTILE

        return (
            float(brentq(excess, rate, 0.5, xtol=1e-4)) if excess(0.5) > 0 > excess(rate) else 0.5
        )


def _at_its_temperature(scores: Scores, label: NDArray[np.integer]) -> Scores:
    log_temperature, *_ = _Likelihood(scores, label).fit()
    sharpened: Scores = np.exp(log_temperature) * scores
    return sharpened


def _rate(odds: float) -> float:
    """Return a rate below one half from an unbounded number."""
    return float(0.5 / (1 + np.exp(-odds)))


def _log_softmax(scores: Scores) -> Scores:
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_shares: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_shares
