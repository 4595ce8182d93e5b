"""Two classifiers of several labels on the same images, compared by mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics.design import LEVEL, Groups
from headstart.evaluation.metrics.multilabel.jackknife import Precisions, degrees_of_mean
from headstart.evaluation.metrics.multilabel.scores import Labels, Probabilities, few_positives
from headstart.evaluation.metrics.multilabel.units import Units
from headstart.evaluation.metrics.paired import POWER, PairedComparison, holm


def compare_with(
    labels: Labels,
    best: Probabilities,
    others: Sequence[Probabilities],
    groups: Groups = None,
    chosen_here: bool = False,
) -> list[PairedComparison]:
    """Compare classifiers with the best one by macro average precision, on the same images.

    The test is Student's, with the jackknife's variance of the difference, adjusted for the table
    as in `headstart.evaluation.metrics.compare_with`. A difference counts only if it is also there
    without the labels of `few_positives`, so that none of them decides alone.
    """
    units, few = Units(labels, groups), few_positives(labels)
    first = Precisions.of(labels, best, units)
    tests = []
    for other in others:
        gain = Precisions.of(labels, other, units) - first
        test = _test(gain, units.positive)
        sure = _test(gain.of_labels(~few), units.positive[~few])
        agree = sure.difference * test.difference > 0
        tests.append(test._replace(p=max(test.p, sure.p) if agree else 1.0))
    raw = [test.p for test in tests]
    pairs = len(others) * (len(others) + 1) / 2
    adjusted = [min(1.0, pairs * p) for p in raw] if chosen_here else holm(raw)
    return [_comparison(test, p) for test, p in zip(tests, adjusted, strict=True)]


class _Test(NamedTuple):
    difference: float
    error: float  # standard error
    degrees: float
    p: float


def _test(gain: Precisions, units: NDArray[np.int64]) -> _Test:
    """Test a mean gain in average precision against 0; ``units``, ``(k,)``, have each label."""
    from scipy.special import stdtr

    defined = np.isfinite(gain.observed)
    if not defined.any():
        return _Test(0.0, 0.0, 1.0, 1.0)
    gain, units = gain.of_labels(defined), units[defined]
    difference = float(gain.observed.mean())
    # Of a label that one unit has, all that is gained may be chance.
    lone = np.where(gain.alone, gain.observed**2, 0.0)
    error = (gain.variance_of_mean + float(lone.sum()) / len(lone) ** 2) ** 0.5
    degrees = degrees_of_mean(gain.variances + lone, units - 1.0)
    degrees = max(2.0, min(degrees, float(units.sum()) - 1))
    if error < 1e-12:
        return _Test(difference, 0.0, degrees, 1.0)
    return _Test(difference, error, degrees, 2 * float(stdtr(degrees, -abs(difference) / error)))


def _comparison(test: _Test, p: float) -> PairedComparison:
    from scipy.special import ndtri, stdtrit

    share = (1 - LEVEL) * (min(1.0, test.p / p) if p > 0 else 1.0)
    reach = float(stdtrit(test.degrees, 1 - share / 2)) * test.error
    low, high = max(-1.0, test.difference - reach), min(1.0, test.difference + reach)
    if p <= 1 - LEVEL + 1e-12:
        low, high = (low, min(high, -1e-9)) if test.difference < 0 else (max(low, 1e-9), high)
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    visible = min(1.0, float(ndtri(1 - share / 2) + ndtri(POWER)) * test.error)
    return PairedComparison(test.difference, (low, high), p, visible)
