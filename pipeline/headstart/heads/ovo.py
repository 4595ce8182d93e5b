"""Decisions of one-against-one SVMs, with one matrix product for each class.

libsvm sums kernel values pair by pair, which with a hundred classes takes longer than training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.libsvm import Machine

CELLS = 8_000_000  # row × class × class values in memory at once
LARGEST = 80.0  # of an exponent: 256 such summands stay finite in float32


def pairs(machine: Machine, kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the values of all pairs of classes, ``(m, k (k - 1) / 2)``.

    They are those of ``SVC.decision_function`` with shape ``ovo``, positive for a pair's first
    class; with two classes, its negative. ``kernel`` has the kernel values between the rows and
    the support vectors, ``(m, n_support)``.
    """
    k = len(machine.classes_)
    if k == 2:  # libsvm's sign is that of the second class
        values: NDArray[np.float64] = -(kernel @ machine.dual_coef_.T + machine.intercept_)
        return values
    values = np.empty((len(kernel), k * (k - 1) // 2))
    step = max(1, CELLS // (k * k))
    for start in range(0, len(kernel), step):
        rows = slice(start, start + step)
        _fill(machine, kernel[rows], values[rows])
    return values


def winners(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Return the column of the class with the most votes, as ``SVC.predict`` chooses it."""
    votes = np.zeros((len(values), k), np.int32)
    for i, own, others in _of_classes(k):
        won = values[:, own] > 0
        votes[:, i] += won.sum(axis=1)
        votes[:, others] += ~won
    columns: NDArray[np.intp] = votes.argmax(axis=1)
    return columns


def coupled(values: NDArray[np.floating], k: int, slope: float) -> NDArray[np.float64]:
    """Return ``log p_i = -log(1 + sum over j of exp(-slope f_ij))`` up to a constant, ``(m, k)``.

    If ``1 / (1 + exp(-slope f_ij))`` is the probability of i among i and j, this is a closed form
    for the coupling problem of Wu, Lin and Weng, *Probability Estimates for Multi-class
    Classification by Pairwise Coupling*, JMLR 2004: exact where the pairs agree (their "PKPD":
    Price, Knerr, Personnaz and Dreyfus, 1995). Pairs that are NaN do not count, and a class
    without any other pair gets ``-inf``.
    """
    # A row for each pair, so that sums over pairs are sums of rows.
    losing = np.multiply(values.T, -slope, order="C")
    np.clip(losing, -LARGEST, LARGEST, out=losing)
    np.exp(losing, out=losing)
    winning = 1.0 / losing
    missing = np.isnan(losing)
    counts: NDArray[np.intp] | int = k - 1
    if missing.any():
        losing[missing] = winning[missing] = 0.0
        counts = _summed(~missing, ~missing, k, np.intp)
    sums = _summed(losing, winning, k, np.float64)
    return np.where(counts > 0, -np.log1p(sums), -np.inf).T


def _summed(first: NDArray[Any], second: NDArray[Any], k: int, kind: type) -> NDArray[Any]:
    """Add what pairs, ``(p, m)``, have for their first and their second class, ``(k, m)``."""
    sums: NDArray[Any] = np.zeros((k, first.shape[1]), kind)
    for i, own, others in _of_classes(k):
        sums[i] += first[own].sum(axis=0)
        sums[others] += second[own]
    return sums


def _of_classes(k: int) -> list[tuple[int, slice, slice]]:
    """Return each class but the last, its pairs with later classes, and these classes."""
    ends = np.cumsum(np.arange(k - 1, 0, -1)).tolist()
    return [(i, slice(end - (k - 1 - i), end), slice(i + 1, k)) for i, end in enumerate(ends)]


def _fill(machine: Machine, kernel: NDArray[np.floating], values: NDArray[np.float64]) -> None:
    k = len(machine.classes_)
    ends = np.cumsum(machine.n_support_)
    parts = np.empty((k, len(kernel), k - 1))
    for i, (start, end) in enumerate(zip(ends - machine.n_support_, ends, strict=True)):
        # Row j - 1, or j below i, holds the coefficients of class i's rows against class j.
        np.matmul(kernel[:, start:end], machine.dual_coef_[:, start:end].T, out=parts[i])
    for i, own, others in _of_classes(k):
        np.add(parts[i][:, i:], parts[others, :, i].T, out=values[:, own])
    values += machine.intercept_
