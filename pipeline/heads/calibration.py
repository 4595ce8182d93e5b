"""Probabilities from scores: one sigmoid, fitted on what the folds' models say of unseen rows.

Platt, *Probabilistic Outputs for Support Vector Machines*, 1999, with one slope and one offset for
all classes. The result is what `sklearn.calibration.CalibratedClassifierCV` with ``ensemble=False``
holds, but the scores come from the search, which has them already, instead of being worked out
again; and a sigmoid that all classes share leaves the order of the classes as it is, so that
calibrated labels are the classifier's own. It also needs no images of every class in every fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_CELLS = 4_000_000  # pairs of image and class: plenty for a slope and an offset


def calibrate(
    classifier: BaseEstimator, scores: NDArray[np.float32], data: TrainingSet
) -> tuple[BaseEstimator, NDArray[np.float64]]:
    """Wrap a fitted classifier so that it gives calibrated probabilities.

    Args:
        classifier: fitted on all rows; has ``decision_function`` or ``predict_proba``.
        scores: ``(n, n_classes)`` out-of-fold values of the same function, for two classes too
            (where there is one value a row, its negative and itself). Rows may be NaN.
        data: the training set.

    Returns:
        A stock ``CalibratedClassifierCV``, fitted, and the calibrated out-of-fold probabilities
        ``(n, n_classes)``.
    """
    known = classifier.classes_
    seen = np.isfinite(scores).all(axis=1)
    values = scores[np.ix_(seen, known)].astype(np.float64)
    hits = data.labels[seen][:, None] == known
    if len(known) == 2:
        values, hits = values[:, 1:], hits[:, 1:]
    step = -(-values.size // MAX_CELLS)
    sigmoid = _sigmoid(values[::step].ravel(), hits[::step].ravel())
    calibrated = _wrap(classifier, sigmoid, data)
    probabilities = np.full(scores.shape, np.nan)
    probabilities[seen] = 0.0
    probabilities[np.ix_(seen, known)] = _apply(sigmoid, values)
    return calibrated, probabilities


def _apply(sigmoid: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ANN401
    """Return probabilities as ``CalibratedClassifierCV`` does: one against rest, normalised."""
    shares = sigmoid.predict(values.ravel()).reshape(values.shape)
    if values.shape[1] == 1:
        return np.hstack([1.0 - shares, shares])
    total = shares.sum(axis=1, keepdims=True)
    even = np.full_like(shares, 1.0 / shares.shape[1])
    probabilities: NDArray[np.float64] = np.divide(shares, total, out=even, where=total > 0)
    return probabilities


def _sigmoid(values: NDArray[np.float64], hits: NDArray[np.bool_]) -> Any:  # noqa: ANN401
    """Return scikit-learn's calibrator of a score, fitted by Platt's rule."""
    return _fit(values, hits.astype(np.int64)).calibrated_classifiers_[0].calibrators[0]


def _wrap(classifier: BaseEstimator, sigmoid: Any, data: TrainingSet) -> BaseEstimator:  # noqa: ANN401
    """Return what ``CalibratedClassifierCV.fit`` would leave, around a classifier fitted before."""
    from sklearn.base import clone
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import PredefinedSplit

    known = classifier.classes_
    # Two rows a class: enough for scikit-learn to make the object, whose parts are then replaced.
    codes = np.repeat(known, 2)
    shell = _fit(np.eye(len(known))[np.searchsorted(known, codes)], codes)
    calibrated = CalibratedClassifierCV(
        clone(classifier),
        method="sigmoid",
        ensemble=False,
        cv=PredefinedSplit(np.atleast_2d(data.fold)[0]),
    )
    pair = shell.calibrated_classifiers_[0]
    pair.estimator = classifier
    pair.calibrators = [sigmoid] * len(pair.calibrators)
    calibrated.calibrated_classifiers_ = [pair]
    calibrated.classes_ = known
    calibrated.n_features_in_ = classifier.n_features_in_
    return calibrated


def _fit(values: NDArray[np.float64], codes: NDArray[np.int64]) -> Any:  # noqa: ANN401
    """Fit ``CalibratedClassifierCV`` on scores that are there already."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV

    class Scores(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A classifier whose input are its scores."""

        def fit(self, values: NDArray[np.float64], codes: NDArray[np.int64]) -> Scores:
            self.classes_ = np.unique(codes)
            return self

        def decision_function(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
            return values[:, -1] if len(self.classes_) == 2 else values

        # Never called, but a classifier has it.
        def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
            codes: NDArray[np.int64] = self.classes_[values.argmax(axis=1)]
            return codes

    rows = np.arange(len(codes))
    values = values.reshape(len(codes), -1)
    model = CalibratedClassifierCV(Scores(), method="sigmoid", ensemble=False, cv=[(rows, rows)])
    return model.fit(values, codes)
