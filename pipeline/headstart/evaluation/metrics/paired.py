"""Comparison of two classifiers on the same images, and of many with the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics.design import LEVEL, Design, Groups

POWER = 0.8  # chance to see the smallest difference that counts as visible

Correct = NDArray[np.bool_]
Interval = tuple[float, float]


class PairedComparison(NamedTuple):
    """One classifier against another on the same images.

    Attributes:
        difference: its accuracy minus the other's.
        interval: of the difference; it excludes 0 if and only if ``p`` is at most 0.05.
        p: two-sided, adjusted for all comparisons of the table.
        visible: the smallest true difference that as many images as these show with a chance of 80
            %, given how often the two disagree.
    """

    difference: float
    interval: Interval
    p: float
    visible: float

    @property
    def decided(self) -> bool:
        """Whether the two differ by more than chance."""
        return self.p <= 1 - LEVEL + 1e-12


def mcnemar(correct_a: Correct, correct_b: Correct, groups: Groups = None) -> float:
    """Return the exact p-value of the test that A and B are right equally often.

    It is two-sided and looks only at the images that one of the two gets right: each, or the sum of
    each group, is as likely to favour A as B. Without groups this is McNemar's exact test
    (McNemar, *Note on the Sampling Error of the Difference Between Correlated Proportions*, 1947);
    with groups, Fisher's randomisation test on their sums.
    """
    from scipy.special import bdtr

    sums = correct_a.astype(np.int64) - correct_b
    if groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], sums).astype(np.int64)
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    if (np.abs(sums) == 1).all():
        fewer = int(min((sums > 0).sum(), (sums < 0).sum()))
        return min(1.0, 2 * float(bdtr(fewer, len(sums), 0.5)))
    sizes = np.abs(sums)
    chances = np.ones(1)  # of each number of images in favour of A
    for size in sizes.tolist():
        longer = np.zeros(len(chances) + size)
        longer[: len(chances)] += chances / 2
        longer[size:] += chances / 2
        chances = longer
    distance = np.abs(2 * np.arange(len(chances)) - sizes.sum())
    return min(1.0, float(chances[distance >= abs(int(sums.sum()))].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number: no more than 5 % of tables have a false one.

    Source: Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, 1979. It needs no
    assumption about how the tests depend on one another.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def compare_with(
    best: Correct, others: Sequence[Correct], groups: Groups = None, chosen_here: bool = False
) -> list[PairedComparison]:
    """Compare classifiers with the best one; ``(n,)`` each, whether an image is right.

    Test, interval and adjustment are one: the interval's level is that at which the test was
    decided, and its end is moved to 0 where the exact test does not decide. If the best one was
    ``chosen_here``, on the same images, the adjustment is Bonferroni's for all pairs.
    """
    exact = [mcnemar(other, best, groups) for other in others]
    pairs = len(others) * (len(others) + 1) / 2
    adjusted = [min(1.0, pairs * p) for p in exact] if chosen_here else holm(exact)
    return [
        _compare(other, best, groups, p, each)
        for other, p, each in zip(others, exact, adjusted, strict=True)
    ]


def _compare(a: Correct, b: Correct, groups: Groups, p: float, adjusted: float) -> PairedComparison:
    # Of the error that this comparison may make; p of thousands of images may be 0.
    share = (1 - LEVEL) * (p / adjusted if adjusted else 1.0)
    difference = float(a.mean() - b.mean())
    values = a.astype(np.float64) - b
    design = Design.of(a == b, groups)
    images = len(a) / design.effect(values - difference)
    low, high = _difference(values, images, design.quantile(1 - share))
    decided = adjusted <= 1 - LEVEL + 1e-12
    if decided:
        low, high = (low, min(high, -1e-9)) if difference < 0 else (max(low, 1e-9), high)
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    interval = min(low, difference), max(high, difference)
    return PairedComparison(difference, interval, adjusted, _visible(values, images, share))


def _difference(values: NDArray[np.float64], images: float, quantile: float) -> Interval:
    """Return the interval of a mean of -1, 0 and 1.

    Source: Bonett and Price, *Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data*, 2012.
    """
    scale = images / len(values)
    more = (float((values > 0).sum()) * scale + 1) / (images + 2)
    fewer = (float((values < 0).sum()) * scale + 1) / (images + 2)
    reach = quantile * np.sqrt((more + fewer - (more - fewer) ** 2) / (images + 2))
    return max(-1.0, more - fewer - float(reach)), min(1.0, more - fewer + float(reach))


def _visible(values: NDArray[np.float64], images: float, share: float) -> float:
    """Return the smallest difference that would be decided with a chance of `POWER`.

    Source: Connor, *Sample Size for Testing Differences in Proportions for the Paired-Sample
    Design*, 1987. The exact test needs some images that disagree, all in one direction.
    """
    from scipy.special import ndtri

    fewest = np.ceil(np.log2(2 / share))
    disagree = max(float((values != 0).mean()), fewest / images)
    reach = float(ndtri(1 - share / 2) + ndtri(POWER)) * np.sqrt(disagree / images)
    return min(1.0, max(float(reach), float(fewest / images)))
