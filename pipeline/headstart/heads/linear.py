"""Linear classifiers on normalised rows, as coefficients and as scikit-learn pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

from headstart.heads.logistic import MAX_ITER


def coefficients(estimator: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # noqa: ANN401
    """Return weight ``(k, d)`` and bias ``(k,)`` of a fitted `LogisticRegressionHead`."""
    model = estimator[-1]
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row, for the second class against the first
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)


def estimator_of(
    weight: NDArray[np.float32], bias: NDArray[np.float32], classes: NDArray[np.int64]
) -> BaseEstimator:
    """Return the stock pipeline with weight ``(k, d)``, bias ``(k,)`` and class codes ``(k,)``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    if len(classes) == 2:
        weight, bias = np.diff(weight, axis=0), np.diff(bias)
    model = LogisticRegression(max_iter=MAX_ITER)
    model.coef_, model.intercept_, model.classes_ = weight, bias, classes
    model.n_features_in_ = weight.shape[1]
    model.n_iter_ = np.zeros(1, np.int32)
    return make_pipeline(Normalizer().fit(np.zeros((1, weight.shape[1]), np.float32)), model)
