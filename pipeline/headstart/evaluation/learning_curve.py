"""How accuracy grows with the number of images, and the effect of doubling them.

Each draw holds out one fold of the training pool and fits on nested random parts of the others, so
the curve never reads the test split, and no choice depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.results import CurvePoint, Doubling, FittedLaw, LearningCurve
from headstart.evaluation.metrics import LEVEL

SIZES = 8
DRAWS = 5
STEP = 1.15  # smallest ratio of one size to the next
MOST = 20_000  # images fitted on for every size but the largest
RESAMPLES = 1000
EXPONENTS = np.geomspace(0.05, 2.0, 120)  # of the power law
GAINED = (0.3, 1.7)  # of a forecast gain, what doubling brought in 93 % of trials
FEWEST_TO_FIT = 4  # sizes; three would fit any curve exactly

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Draw:
    """One random order of the images outside one fold.

    ``fits`` are the rows to fit on for each size; each contains the smaller ones. All are
    ascending.
    """

    held_out: Rows
    fits: list[Rows]


@dataclass(frozen=True)
class Curve:
    """Measured accuracies.

    ``images``, ``(s,)``, are the numbers of images that were fitted on, mean over the draws,
    ascending; ``correct`` tells for each draw, ``(s, held out)``, which images were classified
    correctly.
    """

    images: NDArray[np.float64]
    classes: int
    correct: list[NDArray[np.bool_]]


@dataclass(frozen=True)
class PowerLaw:
    """``accuracy(n) = ceiling - scale * n ** -exponent`` for one or many curves, as arrays.

    Source: Cortes, Jackel, Solla, Vapnik and Denker, *Learning Curves: Asymptotic Values and Rate
    of Convergence*, NIPS 1993. It holds over orders of magnitude in deep learning too: Hestness et
    al., *Deep Learning Scaling is Predictable, Empirically*, 2017.
    """

    ceiling: NDArray[np.float64]
    scale: NDArray[np.float64]
    exponent: NDArray[np.float64]

    def accuracy(self, images: float) -> NDArray[np.float64]:
        """Return the accuracy at a number of images, never above the ceiling."""
        value: NDArray[np.float64] = self.ceiling - self.scale * images**-self.exponent
        return value


def draw(
    labels: NDArray[np.integer], fold: NDArray[np.integer], seed: int, draws: int = DRAWS
) -> list[Draw]:
    """Draw the rows to fit on: every size has the classes in the proportions of the pool.

    The largest size is everything outside the fold. Each smaller one is about half of the next,
    more in small pools, so that there are up to eight sizes, from two images of an average class
    on. Every size has at least one image of every class outside the fold. ``fold``, ``(n,)``, is
    the fold that holds each image out, from 0, or -1 for none. With more draws than folds, folds
    are held out again.
    """
    rng = np.random.default_rng(seed)
    numbers = np.unique(fold[fold >= 0])
    shares = _shares(1 - float(np.mean(fold >= 0)) / len(numbers), labels)
    drawn = []
    for index in range(draws):
        held_out = fold == numbers[index % len(numbers)]
        pool = rng.permutation(np.flatnonzero(~held_out))
        # An image's place within its class, 0 to 1, so one threshold cuts all classes alike.
        place = np.empty(len(pool))
        for code in np.unique(labels[pool]):
            of_class = np.flatnonzero(labels[pool] == code)
            place[of_class] = (np.arange(len(of_class)) + rng.random()) / len(of_class)
            place[of_class[0]] = 0.0
        fits = [np.sort(pool[place < share]) for share in shares[:-1]]
        fits.append(np.sort(pool))  # all of them, whatever the rounding
        drawn.append(Draw(np.flatnonzero(held_out), fits))
    return drawn


def folds_to_hold_out(fold: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first of ``(r, n)`` divisions; of more than `MOST` images, one fold of it alone.

    The largest size is fitted once for each fold, which takes long there, and one fold has enough
    images.
    """
    division: NDArray[np.int64] = np.atleast_2d(fold)[0]
    if len(division) <= MOST:
        return division
    return np.where(division == division[division >= 0].min(), 0, -1)


def measure(
    draws: Sequence[Draw],
    labels: NDArray[np.integer],
    answers: Callable[[list[tuple[Rows, Rows]]], Sequence[NDArray[np.integer]]],
    whole: NDArray[np.integer] | None = None,
) -> Curve:
    """Fit and score every draw at every size.

    ``answers`` returns the predicted codes for pairs of rows to fit on and rows held out. One call
    gets all pairs, so that they can share work. The largest size is fitted once for each fold, or
    ``whole``, ``(n,)``, are its codes.
    """
    pairs = [(rows, draw.held_out) for draw in draws for rows in draw.fits[:-1]]
    largest = {draw.held_out.tobytes(): (draw.fits[-1], draw.held_out) for draw in draws}
    entire = [] if whole is not None else list(largest.values())
    predicted = iter(answers([*entire, *pairs]))
    if whole is None:
        whole = np.full(len(labels), -1)
        for _, held_out in entire:
            whole[held_out] = next(predicted)
    correct = []
    for draw in draws:
        codes = [*(next(predicted) for _ in draw.fits[:-1]), whole[draw.held_out]]
        correct.append(np.stack(codes) == labels[draw.held_out])
    images = np.mean([[len(rows) for rows in draw.fits] for draw in draws], axis=0)
    return Curve(images, len(np.unique(labels)), correct)


def describe(
    curve: Curve, total: int, seed: int, head: str = "", backbone: str = ""
) -> LearningCurve:
    """Return points, fitted law and the effect of twice the ``total`` images of the pool.

    All intervals come from one two-level bootstrap: draws are resampled, and in each the images
    that it held out, the same for all sizes (Davison and Hinkley, *Bootstrap Methods and their
    Application*, 1997, section 3.8). ``seed`` is the bootstrap's.
    """
    accuracy = np.mean([correct.mean(axis=1) for correct in curve.correct], axis=0)
    rng = np.random.default_rng(seed)
    resampled = over_draws(_by_draw(curve.correct, rng), rng)
    return described(curve.images, curve.classes, accuracy, resampled, total, head, backbone)


def described(
    sizes: NDArray[np.float64],
    classes: int,
    accuracy: NDArray[np.float64],
    resampled: NDArray[np.float64],
    total: int,
    head: str = "",
    backbone: str = "",
) -> LearningCurve:
    """Return `describe` of accuracies, ``(s,)``, and resampled ones, ``(r, s)``, of these sizes."""
    points = [
        CurvePoint(
            images=round(float(images), 1),
            images_per_class=round(float(images) / classes, 2),
            accuracy=float(accuracy[size]),
            accuracy_ci=_interval(resampled[:, size]),
        )
        for size, images in enumerate(sizes)
    ]
    if len(points) < FEWEST_TO_FIT:
        return LearningCurve(head, backbone, points, None, None)
    law = fit(sizes, accuracy[None])
    spread = fit(sizes, resampled)
    now, then = float(law.accuracy(total)[0]), float(law.accuracy(2 * total)[0])
    low, high = _interval(spread.accuracy(2 * total))
    return LearningCurve(
        head,
        backbone,
        points,
        FittedLaw(float(law.ceiling[0]), float(law.scale[0]), float(law.exponent[0])),
        Doubling(
            images=2 * total,
            accuracy=then,
            accuracy_ci=(low, high),
            gain=then - now,
            gain_ci=gain_interval(then - now, now, total),
        ),
    )


def gain_interval(gain: float, accuracy: float, images: int) -> tuple[float, float]:
    """Return the interval of a forecast gain: a share of it, and half a standard error.

    The errors of forecasts grow with the gain, by measurement: the resampled laws' gains spread too
    little, and the interval of the accuracy itself is several times too wide and contains 0 always.
    See docs/decisions/0154.
    """
    room = 0.5 * float(np.sqrt(max(accuracy * (1 - accuracy), 0.0) / images))
    return max(0.0, GAINED[0] * gain - room), GAINED[1] * gain + room


def fit(
    images: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    exponents: NDArray[np.float64] = EXPONENTS,
) -> PowerLaw:
    """Fit the power law to curves by least squares, with a ceiling of at most 1 and no descent.

    For each of the exponents the other two parameters have a closed form; the best one wins.
    There are ``(s,)`` sizes, at least `FEWEST_TO_FIT`, and accuracies ``(m, s)``, one curve a row.
    """
    best_error = np.full(len(accuracy), np.inf)
    best: NDArray[np.float64] = np.zeros((3, len(accuracy)))
    for exponent in exponents:
        x = images**-exponent
        centred = x - x.mean()
        scale = np.maximum(-(accuracy @ centred) / (centred @ centred), 0.0)
        ceiling = accuracy.mean(axis=1) + scale * x.mean()
        over = ceiling > 1
        scale = np.where(over, np.maximum((1 - accuracy) @ x / (x @ x), 0.0), scale)
        ceiling = np.minimum(ceiling, 1.0)
        error = ((ceiling[:, None] - scale[:, None] * x - accuracy) ** 2).sum(axis=1)
        better = error < best_error
        best_error[better] = error[better]
        values = np.stack([ceiling, scale, np.full_like(scale, exponent)])
        best[:, better] = values[:, better]
    return PowerLaw(*best)


def _shares(outside: float, labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the shares of the rows outside a fold to fit on, ascending to 1."""
    n = outside * len(labels)
    smallest = min(1.0, 2 * len(np.unique(labels)) / n)
    count = min(SIZES, 1 + int(np.log(1 / smallest) / np.log(STEP)))
    shares = np.geomspace(smallest, 1.0, max(count, 1))
    if len(shares) < 2:
        return shares
    # Sizes at most double, except from the limit `MOST` to the pool.
    halves = min(0.5, MOST / n) * 0.5 ** np.arange(len(shares) - 2, -1, -1)
    shares[:-1] = np.maximum(np.minimum(shares[:-1], min(1.0, MOST / n)), halves)
    return np.unique(shares)


def _by_draw(correct: list[NDArray[np.bool_]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``(draws, RESAMPLES, s)`` mean accuracies of resampled images."""
    # An image has the same weight at all sizes.
    return np.stack(
        [
            rng.multinomial(c.shape[1], np.full(c.shape[1], 1 / c.shape[1]), RESAMPLES)
            @ c.T.astype(np.float64)
            / c.shape[1]
            for c in correct
        ]
    )


def over_draws(by_draw: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return means ``(r, s)`` over resampled draws of scores ``(draws, r, s)``."""
    count, times = by_draw.shape[:2]
    chosen = rng.multinomial(count, np.full(count, 1 / count), times)
    means: NDArray[np.float64] = np.einsum("rd,drs->rs", chosen / count, by_draw)
    return means


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
