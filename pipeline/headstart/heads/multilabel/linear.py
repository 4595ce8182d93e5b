"""Linear heads of several labels as scikit-learn's ``OneVsRestClassifier``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.multilabel.platt import Part, Sigmoids

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def one_vs_rest(parts: Sequence[Part], sigmoids: Sigmoids) -> BaseEstimator:
    """Return a ``OneVsRestClassifier`` of logistic regressions with the calibration in them.

    A calibrated linear support vector machine is one too: its probability is a logistic function of
    a value that is linear in the rows. Of a single label, ``OneVsRestClassifier`` would return two
    columns, so a `LabelClassifier` takes its place.
    """
    if len(sigmoids.slope) == 1:
        return _single(parts[0], sigmoids)
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import LabelBinarizer

    k, d = len(sigmoids.slope), len(parts[0].model)
    models: list[Any] = [None] * k
    for part in parts:
        for place, label in enumerate(part.columns):
            model = models[label] = LogisticRegression()
            slope = sigmoids.slope[label]
            model.coef_ = slope * part.model[None, :, place].astype(np.float64)
            intercept = slope * float(part.intercepts[place]) + sigmoids.bias[label]
            model.intercept_ = np.array([intercept])
            model.classes_ = np.array([0, 1])
            model.n_features_in_, model.n_iter_ = d, np.zeros(1, np.int32)
    classifier = OneVsRestClassifier(LogisticRegression())
    binarizer = LabelBinarizer(sparse_output=True).fit(np.eye(2, dtype=np.int64))
    binarizer.classes_ = np.arange(k)
    classifier.label_binarizer_, classifier.estimators_ = binarizer, models
    classifier.classes_ = binarizer.classes_
    classifier.n_features_in_ = d
    return classifier


def coefficients(estimator: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # noqa: ANN401
    """Return weight ``(k, d)`` and bias ``(k,)`` of a fitted pipeline whose head is `one_vs_rest`.

    Its calibration is in them: their scores are the log odds.
    """
    head = estimator[-1]
    if hasattr(head, "columns"):  # of a single label
        weight = head.slope[:, np.newaxis] * head.estimators[0].coef_
        return weight.astype(np.float32), head.bias.astype(np.float32)
    weights = np.concatenate([model.coef_ for model in head.estimators_])
    biases = np.concatenate([model.intercept_ for model in head.estimators_])
    return weights.astype(np.float32), biases.astype(np.float32)


def _single(part: Part, sigmoids: Sigmoids) -> BaseEstimator:
    from sklearn.linear_model import LinearRegression

    from headstart.heads.multilabel.classifier import LabelClassifier

    model = LinearRegression()
    model.coef_, model.intercept_ = part.model.T.astype(np.float64), np.zeros(1)
    model.n_features_in_ = model.coef_.shape[1]
    return LabelClassifier.of([part._replace(model=model)], sigmoids)
