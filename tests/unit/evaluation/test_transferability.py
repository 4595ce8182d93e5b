"""LogME: against a plain implementation, known values and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation import transferability
from headstart.evaluation.transferability import log_me
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal


def blobs(n=90, d=6, k=3, gap=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    features = gap * rng.normal(size=(k, d))[labels] + rng.normal(size=(n, d))
    return (features * rng.uniform(0.5, 2, d)).astype(np.float32), labels


def plain_log_me(features, labels):
    """Maximise the evidence, written as the density of the labels under the linear model."""
    f = features.astype(np.float64)
    total = []
    for code in np.unique(labels):
        y = (labels == code).astype(float)

        def negative(log_precisions, y=y):
            prior, noise = np.exp(log_precisions)
            covariance = np.eye(len(y)) / noise + f @ f.T / prior
            return -multivariate_normal(np.zeros(len(y)), covariance).logpdf(y)

        starts = [minimize(negative, start, method="Nelder-Mead") for start in ([0, 0], [4, 2])]
        total.append(-min(found.fun for found in starts) / len(y))
    return np.mean(total)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(90, 6), (40, 60)])
def test_log_me_is_the_largest_evidence(n, d):
    features, labels = blobs(n, d)
    if n > d:
        assert log_me(features, labels) == pytest.approx(plain_log_me(features, labels), abs=1e-4)
    else:  # a perfect fit has no largest evidence; the authors' constant keeps it finite
        assert np.isfinite(log_me(features, labels))


def test_both_gram_matrices_and_all_blocks_give_the_same(monkeypatch):
    features, labels = blobs(60, 60)
    value = log_me(features, labels)
    wide = np.hstack([features, np.zeros((60, 5), np.float32)])  # d > n, and nothing added
    assert log_me(wide, labels) == pytest.approx(value, rel=1e-6)
    tall, twice = np.vstack([features, features]), np.r_[labels, labels]  # n > d
    whole = log_me(tall, twice)
    monkeypatch.setattr(transferability, "BLOCK", 7)  # which does not divide the rows
    assert log_me(tall, twice) == pytest.approx(whole, rel=1e-6)


def test_better_features_score_higher():
    values = [log_me(*blobs(gap=gap)) for gap in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 40))
def test_what_must_not_matter(seed, k, d):
    features, labels = blobs(60, d, k, seed=seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(60), rng.permutation(50)[:k]
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    value = log_me(features, labels)
    assert log_me(features[order], labels[order]) == pytest.approx(value, rel=1e-4, abs=1e-6)
    assert log_me(features, names[labels]) == pytest.approx(value, rel=1e-4, abs=1e-6)
    assert log_me(features @ turn, labels) == pytest.approx(value, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("features", [np.zeros((20, 3)), np.ones((20, 3)), np.ones((20, 1))])
def test_features_that_say_nothing(features):
    assert np.isfinite(log_me(features, np.arange(20) % 2))


def test_marks_of_labels_are_indicators_of_classes():
    features, labels = blobs()
    marks = np.eye(3, dtype=np.int8)[labels]
    assert log_me(features, marks) == pytest.approx(log_me(features, labels))
    marks[::5, 1] = -1  # unknown
    assert log_me(features, marks) < log_me(features, labels)
