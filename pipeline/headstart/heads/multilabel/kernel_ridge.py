"""Kernel ridge regression on labels: one inverse serves all folds, and labels known alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headstart.core.cholesky import Cholesky
from headstart.heads import kernels
from headstart.heads.kernel_ridge import MAX_ROWS
from headstart.heads.multilabel.family import LabelFamily, Params, Trials, Values
from headstart.heads.multilabel.kernels import expansion
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.platt import Part
from headstart.heads.training_set import mean_squared_distance


@dataclass(frozen=True)
class KernelRidgeLabels(LabelFamily):
    """Kernel ridge regression with the kernel ``exp(-gamma |a - b|^2)`` on each label.

    See `headstart.heads.kernel_ridge.KernelRidgeHead` for the grid.
    """

    name: str = "kernel-ridge"
    title: str = "kernel ridge"
    grid: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"alpha": (0.3, 0.1, 0.03), "gamma": (1.0, 2.0)}
    )
    keeps_rows: bool = True
    most_rows: int | None = MAX_ROWS

    def explore(self, data: LabelSet, trials: Trials) -> None:
        """Score the whole grid on all folds; see `LabelFamily`."""
        unit = 1.0 / mean_squared_distance(data.shared.rows)
        for multiple in self.grid["gamma"]:
            for alpha in self.grid["alpha"]:
                params = {"alpha": alpha, "gamma": float(f"{multiple * unit:.3g}")}
                trials.add(params, self.values(params, data))

    def values(self, params: Params, data: LabelSet) -> Sequence[Values]:
        """Return the fitted targets; see `LabelFamily`."""
        parts = [np.zeros((len(rows), data.n_labels), np.float32) for _, rows in data.folds]
        for columns, annotated in data.known_alike():
            for part, values in zip(
                parts, _left_out(data.only(columns), annotated, params), strict=True
            ):
                part[:, columns] = values
        return list(parts)

    def fitted(self, params: Params, data: LabelSet) -> Iterator[Part]:
        """Yield a regression on common rows; see `LabelFamily`."""
        dual = np.zeros(data.labels.shape)
        for columns, annotated in data.known_alike():
            rows = np.flatnonzero(annotated)
            dual[np.ix_(rows, columns)] = _dual(data.only(columns), rows, params)
        model = expansion(data, dual, params["gamma"], params["alpha"])
        yield Part(model, np.zeros(data.n_labels), np.arange(data.n_labels))


def _dual(data: LabelSet, rows: NDArray[np.intp], params: Params) -> NDArray[np.float64]:
    kernel = kernels.kernel_of(data.shared, rows, rows, params["gamma"])
    kernel[np.diag_indices_from(kernel)] += params["alpha"]
    targets = (data.labels[rows] == 1).astype(np.float64)
    dual: NDArray[np.float64] = Cholesky(kernel).solve(targets)
    return dual


def _left_out(
    data: LabelSet, annotated: NDArray[np.bool_], params: Params
) -> Iterator[NDArray[np.floating]]:
    """Yield the values of the rows that each fold holds out, fitted on the rows known.

    With ``C = (K + alpha I)^-1``, the residuals of rows left out are ``C_ff^-1 (C y)_f``, so one
    inverse serves all folds that divide the rows. Other folds are solved one by one.
    """
    gamma = params["gamma"]
    whole = all(len(fit) + len(rows) == len(data.labels) for fit, rows in data.folds)
    if not whole or not annotated.all() or len(data.folds) < 2:
        for fit, held_out in data.folds:
            within = fit[annotated[fit]]
            if len(within):
                kernel = kernels.kernel_of(data.shared, held_out, within, gamma)
                yield kernel @ _dual(data, within, params)
            else:
                yield np.zeros((len(held_out), data.n_labels))
        return
    everything = np.arange(len(data.labels))
    kernel = kernels.kernel_of(data.shared, everything, everything, gamma)
    kernel[np.diag_indices_from(kernel)] += params["alpha"]
    inverse = Cholesky(kernel).inverse()
    targets = (data.labels == 1).astype(np.float64)
    solution = inverse @ targets
    for _, rows in data.folds:
        block = inverse[np.ix_(rows, rows)]
        yield targets[rows] - np.linalg.solve(block, solution[rows])
