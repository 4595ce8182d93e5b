"""The classifier that heads without probabilities of their own become."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

from headstart.heads.calibration import PAIRS, SHARES, Calibration
from headstart.heads.ovo import pairs
from headstart.heads.votes import has_many, votes


class CalibratedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted stock classifier whose values become calibrated probabilities.

    The wrapped classifier is ``estimator``, unchanged: take it out to use it alone. The label is
    the most probable class, so it may differ from the classifier's own.

    Args:
        estimator: a fitted ``SVC`` for the link ``pairs``, a classifier with ``predict_proba`` for
            ``shares``, or with ``decision_function`` for ``scores``; for the last two also a
            regression on a target for each class.
        link: see `headstart.heads.calibration.Calibration`, like ``slope``, ``bias`` and
            ``smoothing``.
        classes: the labels, for a regression, which has none of its own.
    """

    def __init__(
        self,
        estimator: Any,  # noqa: ANN401
        link: str = PAIRS,
        slope: float = 1.0,
        bias: Any = 0.0,  # noqa: ANN401 - (k,) or a number
        smoothing: float = 0.0,
        classes: Any = None,  # noqa: ANN401 - (k,)
    ) -> None:
        self.estimator = estimator
        self.link = link
        self.slope = slope
        self.bias = bias
        self.smoothing = smoothing
        self.classes = classes

    @classmethod
    def of(
        cls,
        estimator: Any,  # noqa: ANN401
        fitted: Calibration,
        classes: NDArray[Any] | None = None,
    ) -> CalibratedClassifier:
        """Return a fitted classifier with its calibration."""
        return cls(estimator, fitted.link, fitted.slope, fitted.bias, fitted.smoothing, classes)

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of the probabilities."""
        own = self.estimator.classes_ if self.classes is None else self.classes
        classes: NDArray[Any] = np.asarray(own)
        return classes

    @property
    def calibration(self) -> Calibration:
        """What turns the classifier's values into probabilities."""
        bias = np.broadcast_to(np.asarray(self.bias, np.float64), (len(self.classes_),))
        return Calibration(self.link, self.slope, bias, self.smoothing)

    @property
    def n_features_in_(self) -> int:
        """The number of features of a row."""
        return int(self.estimator.n_features_in_)

    def fit(self, X: Any, y: Any) -> CalibratedClassifier:  # noqa: ANN401
        """Fit the wrapped classifier again; the calibration stays."""
        if self.classes is not None:
            self.classes, codes = np.unique(y, return_inverse=True)
            y = (codes[:, None] == np.arange(len(self.classes))).astype(np.float64)
        self.estimator = clone(self.estimator).fit(X, y)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the wrapped classifier is fitted."""
        return self.classes is not None or hasattr(self.estimator, "classes_")

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the calibrated probabilities, ``(n, k)``."""
        return self.calibration.probabilities(self._values(X))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401
        """Return the most probable class of each row."""
        labels: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def _values(self, rows: Any) -> NDArray[np.floating]:  # noqa: ANN401
        model = self.estimator
        if self.classes is not None:
            return np.asarray(model.predict(rows))
        if self.link == SHARES:
            return votes(model, rows) if has_many(model) else np.asarray(model.predict_proba(rows))
        if self.link == PAIRS:
            points = model.support_vectors_
            rows = np.asarray(rows, np.float64)
            if model.kernel == "linear":
                return pairs(model, linear_kernel(rows, points))
            return pairs(model, rbf_kernel(rows, points, gamma=model.gamma))
        scores = np.asarray(model.decision_function(rows))
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
