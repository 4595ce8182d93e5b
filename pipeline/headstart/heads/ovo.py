"""Decisions of one-against-one SVMs, with one matrix product for each class.

libsvm sums kernel values pair by pair, which with a hundred classes takes longer than training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.svm import SVC

CELLS = 8_000_000  # row × class × class values in memory at once


class Decision(NamedTuple):
    """Decision values and predicted classes.

    Attributes:
        values: ``(m, k)``, those of ``SVC.decision_function``, one column a class; for two classes
            the negative of its single value, and the value.
        winners: ``(m,)``, the columns of the classes that ``SVC.predict`` returns.
    """

    values: NDArray[np.float64]
    winners: NDArray[np.intp]


def decide(machine: SVC, kernel: NDArray[np.float64]) -> Decision:
    """Return the decisions of an SVM for the rows of its precomputed kernel, ``(m, n fitted)``."""
    columns = kernel[:, machine.support_]
    k = len(machine.classes_)
    if k == 2:
        value = columns @ machine.dual_coef_[0] + machine.intercept_
        return Decision(np.stack([-value, value], axis=1), (value > 0).astype(np.intp))
    votes, sums = np.zeros((len(kernel), k)), np.zeros((len(kernel), k))
    step = max(1, CELLS // (k * k))
    for start in range(0, len(kernel), step):
        rows = slice(start, start + step)
        _add_pairs(machine, columns[rows], votes[rows], sums[rows])
    # scikit-learn's rule: votes first, then the sum of the pairs' values.
    return Decision(votes + sums / (3 * (np.abs(sums) + 1)), votes.argmax(axis=1))


def _add_pairs(
    machine: SVC,
    columns: NDArray[np.float64],
    votes: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Add the votes and values of all pairs; a pair's value is positive for its first class."""
    k = len(machine.classes_)
    ends = np.cumsum(machine.n_support_)
    parts = np.empty((k, len(columns), k - 1))
    for i, (start, end) in enumerate(zip(ends - machine.n_support_, ends, strict=True)):
        # Row j - 1, or j below i, holds the coefficients of class i's rows against class j.
        np.matmul(columns[:, start:end], machine.dual_coef_[:, start:end].T, out=parts[i])
    first = 0
    for i in range(k - 1):
        last = first + k - 1 - i
        value = parts[i][:, i:] + parts[i + 1 :, :, i].T + machine.intercept_[first:last]
        sums[:, i] += value.sum(axis=1)
        sums[:, i + 1 :] -= value
        votes[:, i] += (value > 0).sum(axis=1)
        votes[:, i + 1 :] += value <= 0
        first = last
