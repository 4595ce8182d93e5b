"""One-against-one machines for ascending C on one fold, from one kernel.

C only bounds the dual coefficients. Once none of a pair of classes reaches its bound, a larger C
leaves that pair's machine as it is, so only the other pairs are solved again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.heads import libsvm, ovo
from headstart.heads.kernels import kernel_of
from headstart.heads.libsvm import Machine
from headstart.heads.training_set import Fold, TrainingSet

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Step(NamedTuple):
    """One C on one fold.

    Attributes:
        accuracy: of the votes for the rows held out.
        values: ``(held out, k (k - 1) / 2)``, of the pairs of all classes; NaN where the fold has
            no row of one of the two.
    """

    accuracy: float
    values: NDArray[np.float32]


def path(data: TrainingSet, gamma: float | None, fold: Fold, costs: Sequence[float]) -> list[Step]:
    """Solve and score ascending values of C; ``gamma`` is None for a linear kernel."""
    fit, held_out = fold
    fit = fit[np.argsort(data.labels[fit], kind="stable")]  # a class is a slice, as libsvm has it
    labels = data.labels[fit]
    kernel, outside = (kernel_of(data, rows, fit, gamma) for rows in (fit, held_out))
    steps: list[Step] = []
    machine, bounded = None, np.ones(1, bool)
    for c in costs:
        if bounded.any():
            if machine is None or 2 * bounded.sum() > len(bounded):
                machine = _whole(libsvm.fit(kernel, labels, c, data.class_weight), labels)
            else:
                machine = _continued(machine, bounded, kernel, labels, c)
            bounded = _bounded(machine, labels, c)
            steps.append(_step(machine, ovo.pairs(machine, outside), data, held_out))
        else:
            steps.append(steps[-1])
    return steps


def _step(machine: Machine, values: Floats, data: TrainingSet, held_out: NDArray[np.intp]) -> Step:
    votes = ovo.winners(values, len(machine.classes_))
    right = machine.classes_[votes] == data.labels[held_out]
    codes = np.unique(data.labels)
    first, second = np.triu_indices(len(codes), 1)
    among = np.isin(codes, machine.classes_)
    pairs = np.full((len(held_out), len(first)), np.nan, np.float32)
    pairs[:, among[first] & among[second]] = values
    return Step(float(np.mean(right)), pairs)


def _whole(machine: Machine, labels: NDArray[np.int64]) -> Machine:
    """Return the machine with a coefficient, often 0, for every row, ``(k - 1, n)``."""
    coefficients = np.zeros((len(machine.dual_coef_), len(labels)))
    coefficients[:, machine.support_] = machine.dual_coef_
    return machine._replace(
        support_=np.arange(len(labels), dtype=np.int32),
        n_support_=np.unique(labels, return_counts=True)[1].astype(np.int32),
        dual_coef_=coefficients,
    )


def _slices(machine: Machine) -> list[slice]:
    ends = np.cumsum(machine.n_support_)
    return list(map(slice, ends - machine.n_support_, ends))


def _bounded(machine: Machine, labels: NDArray[np.int64], c: float) -> Flags:
    """Return the pairs of classes with a coefficient at its bound, C times the class's weight."""
    k = len(machine.classes_)
    reaches = np.zeros((k, k), bool)
    for i, (own, weight) in enumerate(zip(_slices(machine), machine.class_weight_, strict=True)):
        largest = np.abs(machine.dual_coef_[:, own]).max(axis=1, initial=0.0)
        reaches[i, np.arange(k) != i] = largest >= c * weight
    return (reaches | reaches.T)[np.triu_indices(k, 1)]


def _continued(
    machine: Machine, bounded: Flags, kernel: Floats, labels: NDArray[np.int64], c: float
) -> Machine:
    """Return the machine of another C: only pairs that are ``bounded`` are solved again."""
    coefficients, intercepts = machine.dual_coef_.copy(), machine.intercept_.copy()
    slices = _slices(machine)
    for pair, (i, j) in enumerate(zip(*np.triu_indices(len(slices), 1), strict=True)):
        if not bounded[pair]:
            continue
        former, later = slices[i], slices[j]
        part = np.block(
            [
                [kernel[former, former], kernel[former, later]],
                [kernel[later, former], kernel[later, later]],
            ]
        )
        both = np.concatenate([labels[former], labels[later]])
        solved = libsvm.fit(part, both, c, machine.class_weight_[[i, j]])
        # With two classes the signs are those of the second one.
        of_rows = np.zeros(len(both))
        of_rows[solved.support_] = -solved.dual_coef_[0]
        size = int(machine.n_support_[i])
        coefficients[j - 1, former], coefficients[i, later] = of_rows[:size], of_rows[size:]
        intercepts[pair] = -solved.intercept_[0]
    return machine._replace(dual_coef_=coefficients, intercept_=intercepts)
