"""A logistic regression's coefficients go out and come back as the same classifier."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.heads.linear import coefficients, estimator_of
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet


@pytest.mark.parametrize("classes", [2, 3])
def test_coefficients_go_out_and_come_back(classes):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % classes
    features = (rng.normal(size=(30, 5)) + labels[:, None]).astype(np.float32)
    training = TrainingSet(features, labels, np.arange(30) // 10 % 3)
    fitted = LogisticRegressionHead().search(training).estimator
    weight, bias = coefficients(fitted)
    assert (weight.shape, bias.shape) == ((classes, 5), (classes,))
    logits = features / np.linalg.norm(features, axis=1, keepdims=True) @ weight.T + bias
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = fitted.predict_proba(features)
    np.testing.assert_allclose(softmax, expected, atol=1e-5)
    again = estimator_of(weight, bias, np.arange(classes))
    np.testing.assert_allclose(again.predict_proba(features), expected, atol=1e-5)
