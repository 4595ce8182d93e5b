"""Calibration and scores of several labels: `headstart.heads.multilabel.platt` and `scoring`."""

from __future__ import annotations

import numpy as np
from headstart.heads.multilabel import platt
from headstart.heads.multilabel.scoring import average_precisions, log_losses
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score, log_loss


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with unknown cells and scores, some of them equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    labels = rng.integers(-1, 2, shape).astype(np.int8)
    return labels, np.round(rng.normal(size=shape), draw(st.integers(0, 3)))


@given(scored())
def test_average_precision_is_that_of_scikit_learn(pair) -> None:
    labels, scores = pair
    ours = average_precisions(labels, scores)
    for label in range(labels.shape[1]):
        known = labels[:, label] >= 0
        if (labels[:, label] == 1).any():
            theirs = average_precision_score(labels[known, label], scores[known, label])
            np.testing.assert_allclose(ours[label], theirs, rtol=1e-9)
        else:
            assert np.isnan(ours[label])


def test_log_loss_is_that_of_scikit_learn_where_the_label_is_known() -> None:
    rng = np.random.default_rng(0)
    labels, chances = rng.integers(-1, 2, (50, 2)).astype(np.int8), rng.random((50, 2))
    for label, loss in enumerate(log_losses(labels, chances)):
        known = labels[:, label] >= 0
        expected = log_loss(labels[known, label], chances[known, label])
        np.testing.assert_allclose(loss, expected)


def test_sigmoids_have_the_least_loss_of_platts_targets() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 3)) < [0.5, 0.1, 0.02]).astype(np.int8)
    labels[rng.random(labels.shape) < 0.1] = -1
    values = 40 * labels * [1.0, 0.5, 2.0] + rng.normal(100, 30, labels.shape)
    fitted = platt.fit(values, labels)
    for label in range(3):
        known = labels[:, label] >= 0
        x, y = values[known, label], labels[known, label]
        high, low = (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2)
        target = np.where(y == 1, high, low)

        def loss(ab, x=x, target=target) -> float:
            scores = ab[0] * (x - 100) / 30 + ab[1]
            return float(np.mean(np.logaddexp(0, scores) - target * scores))

        best = minimize(loss, [1.0, 0.0], tol=1e-12).fun
        slope, bias = fitted.slope[label], fitted.bias[label]
        assert loss([30 * slope, bias + 100 * slope]) <= best + 1e-6


def test_probabilities_are_calibrated_to_the_prevalence_and_keep_the_order() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5000, 2))
    labels = (rng.random(values.shape) < platt.sigmoid(3 * values - 2)).astype(np.int8)
    values[:, 1] *= -1  # a head that is worse than chance keeps its order
    fitted = platt.fit(values, labels)
    np.testing.assert_allclose(fitted.slope[0], 3, rtol=0.1)
    np.testing.assert_allclose(fitted.bias[0], -2, rtol=0.1)
    assert fitted.slope[1] > 0
    chances = fitted.probabilities(values)
    np.testing.assert_allclose(chances.mean(axis=0), labels.mean(axis=0), atol=0.01)


def test_values_that_no_fold_could_give_get_the_prevalence() -> None:
    labels = np.array([[0], [1], [0], [0]], np.int8)
    chances = platt.fit(np.full((4, 1), np.nan), labels).probabilities(np.full((1, 1), np.nan))
    np.testing.assert_allclose(chances, 2 / 6)
