"""Sums of a kernel over training rows, for several labels at once, as a stock regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.heads.multilabel.label_set import LabelSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def expansion(
    data: LabelSet,
    dual: NDArray[np.floating],
    gamma: float,
    alpha: float = 1.0,
) -> BaseEstimator:
    """Return a ``KernelRidge`` whose values are ``sum over rows of dual * kernel``, ``(n, k)``.

    ``dual``, ``(n, k)``, are coefficients of the training rows; rows that no label needs are left
    out. Support vector machines are such sums too, so their labels share the kernel's values.
    """
    from sklearn.kernel_ridge import KernelRidge

    rows = np.flatnonzero((dual != 0).any(axis=1))
    rows = rows if len(rows) else np.arange(1)
    model = KernelRidge(kernel="rbf", gamma=gamma, alpha=alpha)
    model.X_fit_ = data.shared.rows[rows].astype(np.float64)
    model.dual_coef_ = np.ascontiguousarray(dual[rows], np.float64)
    model.n_features_in_ = model.X_fit_.shape[1]
    return model
