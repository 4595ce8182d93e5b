"""Calibrated probabilities: one sigmoid for all classes, fitted on out-of-fold scores.

Each class gets ``sigmoid(slope * score - offset)``, normalised over the classes (Platt,
*Probabilistic Outputs for Support Vector Machines*, 1999). A large offset amounts to temperature
scaling (Guo et al., *On Calibration of Modern Neural Networks*, 2017); a small one smooths the
votes of neighbours. Because the classes share slope and offset, calibration never changes the
predicted label; docs/decisions/0035 compares the alternatives.

The result is a stock `sklearn.calibration.CalibratedClassifierCV` whose fitted parts are set here:
its own ``fit`` would recompute the out-of-fold scores and fit a sigmoid for each class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_CELLS = 2_000_000  # pairs of image and class: plenty for a slope and an offset
OFFSETS = (
    -4.0,
    20.0,
)  # exp(-20) is close to pure temperature scaling; more exceeds float32 precision
SLOPES = (-3.0, 6.0)  # logarithms


class Sigmoid(NamedTuple):
    """The sigmoid that all classes share."""

    slope: float
    offset: float


def calibrate(
    classifier: BaseEstimator, scores: NDArray[np.float32], data: TrainingSet
) -> tuple[BaseEstimator, NDArray[np.float64]]:
    """Wrap a fitted classifier so that it returns calibrated probabilities.

    The scores, ``(n, n_classes)``, are out-of-fold values of the classifier's ``decision_function``
    or ``predict_proba``; with two classes, the second column is what that function returns. NaN
    rows are ignored here, and stay NaN in the calibrated probabilities that are returned too.
    """
    # With two classes, the score at the decision boundary must map to 1/2.
    middle = 0.0 if hasattr(classifier, "decision_function") else 0.5
    codes = classifier.classes_
    seen = np.flatnonzero(np.isfinite(scores).all(axis=1))
    values = scores[np.ix_(seen, codes)].astype(np.float64)
    sigmoid = Sigmoid(*_fit(values, np.searchsorted(codes, data.labels[seen]), middle))
    probabilities = np.full(scores.shape, np.nan)
    probabilities[seen] = 0.0
    probabilities[np.ix_(seen, codes)] = np.exp(_log_probabilities(values, *sigmoid))
    return _wrap(classifier, sigmoid, data), probabilities


def _fit(
    values: NDArray[np.float64], codes: NDArray[np.intp], middle: float
) -> tuple[float, float]:
    """Return the slope and the offset of least log loss; as in Platt, targets are smoothed."""
    from scipy.optimize import minimize
    from scipy.special import expit

    step = -(-values.size // MAX_CELLS)
    values, codes = values[::step], codes[::step]
    n, k = values.shape
    scale = max(float(values.std()), 1e-6)
    mean = middle if k == 2 else float(values.mean())
    targets = np.full(values.shape, 1.0 / n)
    targets[np.arange(n), codes] += 1.0

    def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(x[0]) / scale
        offset = slope * mean + (0.0 if k == 2 else x[1])
        logs = _log_probabilities(values, slope, offset)
        if k == 2:
            pull = targets[:, 1] - targets.sum(axis=1) * np.exp(logs[:, 1])
            by_slope = slope * (pull * (values[:, 1] - mean)).sum()
            gradient = np.array([by_slope, 0.0])
        else:
            pull = targets - targets.sum(axis=1, keepdims=True) * np.exp(logs)
            pull *= expit(offset - slope * values)
            gradient = np.array([slope * (pull * (values - mean)).sum(), -pull.sum()])
        return -float((targets * logs).sum()) / n, -gradient / n

    bounds = [SLOPES, OFFSETS]
    starts = [(0.5, 2.0), (0.5, 15.0)]
    minima = [minimize(loss, x, jac=True, method="L-BFGS-B", bounds=bounds) for x in starts]
    best = min(minima, key=lambda result: float(result.fun)).x
    slope = float(np.exp(best[0])) / scale
    return slope, slope * mean + (0.0 if k == 2 else float(best[1]))


def _log_probabilities(
    values: NDArray[np.float64], slope: float, offset: float
) -> NDArray[np.float64]:
    from scipy.special import log_expit

    logits = slope * values - offset
    if values.shape[1] == 2:
        logits[:, 0] = -logits[:, 1]
    logs: NDArray[np.float64] = log_expit(logits)
    if values.shape[1] > 2:
        top = logs.max(axis=1, keepdims=True)
        logs -= top + np.log(np.exp(logs - top).sum(axis=1, keepdims=True))
    return logs


def _wrap(classifier: BaseEstimator, fitted: Sigmoid, data: TrainingSet) -> BaseEstimator:
    """Return what ``CalibratedClassifierCV.fit`` would build around a classifier fitted before."""
    from sklearn.base import BaseEstimator as Base
    from sklearn.base import ClassifierMixin, clone
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import PredefinedSplit

    codes = classifier.classes_

    class Scores(ClassifierMixin, Base):  # type: ignore[misc]
        """A classifier whose inputs are its scores."""

        def fit(self, values: NDArray[np.float64], labels: NDArray[np.int64]) -> Scores:
            self.classes_ = np.unique(labels)
            return self

        def decision_function(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
            return values[:, -1] if len(self.classes_) == 2 else values

        # Never called, but scikit-learn requires it.
        def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
            labels: NDArray[np.int64] = self.classes_[values.argmax(axis=1)]
            return labels

    # One row a class is enough to build the object, whose parts are then replaced.
    rows = np.arange(len(codes))
    shell = CalibratedClassifierCV(
        Scores(), method="sigmoid", ensemble=False, cv=[(rows, rows)], n_jobs=1
    )
    pair = shell.fit(np.eye(len(codes)), codes).calibrated_classifiers_[0]
    pair.estimator = classifier
    for sigmoid in pair.calibrators:
        sigmoid.a_, sigmoid.b_ = -fitted.slope, fitted.offset
    calibrated = CalibratedClassifierCV(
        clone(classifier),
        method="sigmoid",
        ensemble=False,
        cv=PredefinedSplit(np.atleast_2d(data.fold)[0]),
    )
    calibrated.calibrated_classifiers_ = [pair]
    calibrated.classes_ = codes
    calibrated.n_features_in_ = classifier.n_features_in_
    return calibrated
