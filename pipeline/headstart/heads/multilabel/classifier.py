"""The classifiers that regressions on labels, and the mean of heads, become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from headstart.heads.multilabel.platt import Part, Sigmoids, sigmoid


class _OfLabels(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of labels, made of fitted models, that has ``predict_proba``."""

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: its models are fitted."""
        return True

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the labels that are likelier than not, ``(n, k)`` of 0 and 1."""
        labels: NDArray[np.int64] = (self.predict_proba(X) >= 0.5).astype(np.int64)
        return labels


class MeanClassifier(_OfLabels):
    """The mean of the probabilities of fitted pipelines of labels, ``estimators``."""

    def __init__(self, estimators: Any) -> None:  # noqa: ANN401
        self.estimators = estimators

    @property
    def classes_(self) -> NDArray[np.intp]:
        """The columns of the labels."""
        classes: NDArray[np.intp] = self.estimators[0].classes_
        return classes

    @property
    def n_features_in_(self) -> int:
        """The number of features of a row."""
        return int(self.estimators[0].n_features_in_)

    def fit(self, X: Any, y: Any) -> MeanClassifier:  # noqa: ANN401
        """Fit the pipelines again on ``(n, k)`` labels of 0 and 1."""
        self.estimators = [clone(model).fit(X, y) for model in self.estimators]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the mean probabilities, ``(n, k)``."""
        mean: NDArray[np.float64] = np.mean(
            [model.predict_proba(X) for model in self.estimators], axis=0
        )
        return mean


class LabelClassifier(_OfLabels):
    """Fitted stock regressions whose values become calibrated probabilities of labels.

    Args:
        estimators: fitted regressions: ``KernelRidge``, which holds kernel ridge regression or
            the dual coefficients of support vector machines, ``KNeighborsRegressor``, or
            ``LinearRegression``. Each predicts some of the labels.
        columns: the labels that each regression predicts.
        slope: ``(k,)``, like ``bias``: see `headstart.heads.multilabel.platt.Sigmoids`.
    """

    def __init__(
        self,
        estimators: Any,  # noqa: ANN401
        columns: Any,  # noqa: ANN401
        slope: Any,  # noqa: ANN401
        bias: Any,  # noqa: ANN401
    ) -> None:
        self.estimators = estimators
        self.columns = columns
        self.slope = slope
        self.bias = bias

    @property
    def classes_(self) -> NDArray[np.intp]:
        """The columns of the labels."""
        return np.arange(len(self.slope))

    @classmethod
    def of(cls, parts: Sequence[Part], sigmoids: Sigmoids) -> LabelClassifier:
        """Return a fitted classifier; intercepts join the calibration's."""
        bias = sigmoids.bias.copy()
        for part in parts:
            bias[part.columns] += sigmoids.slope[part.columns] * part.intercepts
        columns = [part.columns.tolist() for part in parts]
        return cls([part.model for part in parts], columns, sigmoids.slope, bias)

    @property
    def n_features_in_(self) -> int:
        """The number of features of a row."""
        return int(self.estimators[0].n_features_in_)

    def fit(self, X: Any, y: Any) -> LabelClassifier:  # noqa: ANN401
        """Fit the regressions again on ``(n, k)`` labels of 0 and 1; the calibration stays."""
        y = np.asarray(y, np.float64)
        self.estimators = [
            clone(model).fit(X, y[:, own])
            for model, own in zip(self.estimators, self.columns, strict=True)
        ]
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the calibrated log odds, ``(n, k)``."""
        values = np.empty((len(X), len(self.slope)))
        for model, own in zip(self.estimators, self.columns, strict=True):
            values[:, own] = model.predict(X).reshape(len(X), len(own))
        values *= self.slope
        values += self.bias
        return values

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the calibrated probabilities, ``(n, k)``."""
        return sigmoid(self.decision_function(X))
