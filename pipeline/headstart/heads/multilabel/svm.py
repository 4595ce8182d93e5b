"""Support vector machines of several labels on one Gram matrix, one label against its absence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import run_parallel
from headstart.heads import libsvm
from headstart.heads.kernels import kernel_of, prepare
from headstart.heads.libsvm import Machine
from headstart.heads.multilabel.family import LabelFamily, Params, Trials, Values
from headstart.heads.multilabel.kernels import expansion
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.linear import one_vs_rest
from headstart.heads.multilabel.platt import Part, Sigmoids
from headstart.heads.svm import C_GRID, MAX_ROWS
from headstart.heads.training_set import Fold, mean_squared_distance

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearSVMLabels(LabelFamily):
    """A linear support vector machine for each label."""

    name: str = "linear-svm"
    title: str = "linear SVM"
    grid: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"C": C_GRID})
    most_rows: int | None = MAX_ROWS

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Score ascending values of C on all folds; see `LabelFamily`."""
        for c, parts in zip(self.grid["C"], _paths(data, None, self.grid["C"]), strict=True):
            trials.add({"C": c}, parts)

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return the decision values; see `LabelFamily`."""
        return next(iter(_paths(data, None, [params["C"]])))

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield the weights and intercepts of all rows; see `LabelFamily`."""
        dual, intercepts = _final(data, None, params["C"])
        weights = data.shared.rows.T.astype(np.float64) @ dual
        yield Part(weights, intercepts, np.arange(data.n_labels))

    def classifier(self, parts: Sequence[Part], sigmoids: Sigmoids) -> BaseEstimator:
        """Return a ``OneVsRestClassifier``; see `LabelFamily`."""
        return one_vs_rest(parts, sigmoids)


@dataclass(frozen=True)
class RbfSVMLabels(LabelFamily):
    """A support vector machine with the kernel ``exp(-gamma |a - b|^2)`` for each label.

    The grid's ``gamma`` is in units of 1 / mean squared distance.
    """

    name: str = "rbf-svm"
    title: str = "RBF SVM"
    grid: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"C": (0.5, 2.0, 8.0, 32.0), "gamma": (0.25, 0.5, 1.0, 2.0)}
    )
    keeps_rows: bool = True
    most_rows: int | None = MAX_ROWS

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Score every C with every gamma on all folds; see `LabelFamily`."""
        unit = 1.0 / mean_squared_distance(data.shared.rows)
        gammas = [float(f"{multiple * unit:.3g}") for multiple in self.grid["gamma"]]
        costs = self.grid["C"]
        paths = {gamma: _paths(data, gamma, costs) for gamma in gammas}
        for i, c in enumerate(costs):
            for gamma in gammas:
                trials.add({"C": c, "gamma": gamma}, paths[gamma][i])

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return the decision values; see `LabelFamily`."""
        return _paths(data, params["gamma"], [params["C"]])[0]

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield the machines of all rows on common support vectors; see `LabelFamily`."""
        dual, intercepts = _final(data, params["gamma"], params["C"])
        yield Part(expansion(data, dual, params["gamma"]), intercepts, np.arange(data.n_labels))


def _paths(
    data: LabelSet, gamma: float | None, costs: Sequence[float]
) -> list[list[NDArray[np.float32]]]:
    """Return the values of the rows that each fold holds out, for each cost."""
    prepare(data.shared, gamma)
    of_folds = run_parallel(lambda fold: _path(data, gamma, fold, costs), data.folds, data.workers)
    return [list(parts) for parts in zip(*of_folds, strict=True)]


def _path(
    data: LabelSet, gamma: float | None, fold: Fold, costs: Sequence[float]
) -> list[NDArray[np.float32]]:
    """Return the values of ascending costs on one fold.

    A cost only bounds the dual coefficients: once none of a label's reaches its bound, a larger one
    changes nothing.
    """
    fit, held_out = fold
    kernel, outside = (kernel_of(data.shared, rows, fit, gamma) for rows in (fit, held_out))
    usable = data.varies(fit)
    dual, intercepts = np.zeros((len(fit), data.n_labels)), np.zeros(data.n_labels)
    saturated = np.zeros(data.n_labels, bool)
    path = []
    for c in costs:
        for label in np.flatnonzero(usable & ~saturated).tolist():
            machine, bound = _machine(data, kernel, fit, label, c, dual)
            intercepts[label] = machine.intercept_[0]
            saturated[label] = np.abs(machine.dual_coef_).max(initial=0.0) < bound
        path.append((outside @ dual + intercepts).astype(np.float32))
    return path


def _machine(
    data: LabelSet, kernel: Floats, fit: NDArray[np.intp], label: int, c: float, dual: Floats
) -> tuple[Machine, float]:
    """Fit a label's machine on the rows where it is known, and fill its column of ``dual``."""
    of_rows = data.labels[fit, label]
    annotated = np.flatnonzero(of_rows >= 0)
    within = kernel if len(annotated) == len(fit) else kernel[np.ix_(annotated, annotated)]
    machine = libsvm.fit(within, of_rows[annotated].astype(np.int64), c, data.class_weight)
    dual[:, label] = 0.0
    dual[annotated[machine.support_], label] = machine.dual_coef_[0]
    return machine, c * float(machine.class_weight_.min())


def _final(data: LabelSet, gamma: float | None, c: float) -> tuple[Floats, Floats]:
    """Return the dual coefficients ``(n, k)`` and intercepts ``(k,)`` on all rows."""
    everything = np.arange(len(data.labels))
    kernel = kernel_of(data.shared, everything, everything, gamma)
    dual, intercepts = np.zeros(data.labels.shape), np.zeros(data.n_labels)

    def fit(label: int) -> None:
        machine, _ = _machine(data, kernel, everything, label, c, dual)
        intercepts[label] = machine.intercept_[0]

    run_parallel(fit, np.flatnonzero(data.varies(everything)).tolist(), data.workers)
    return dual, intercepts
