"""Scores of features: against plain implementations, known values and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation import transferability
from headstart.evaluation.transferability import h_scores, leep, log_me, nce
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf


def h_score(features, labels):
    return h_scores(features, labels)[0]


def regularised_h_score(features, labels):
    return h_scores(features, labels)[1]


OF_FEATURES = [log_me, h_score, regularised_h_score]


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


def plain_h_score(features, labels, covariance=None, weight=1.0):
    f = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    means = np.zeros_like(f)
    for code in np.unique(labels):
        means[labels == code] = f[labels == code].mean(axis=0)
    covariance = f.T @ f / len(f) if covariance is None else covariance
    return weight * np.trace(np.linalg.pinv(covariance) @ (means.T @ means / len(f)))


@pytest.mark.parametrize(("n", "d"), [(90, 6), (40, 60)])
def test_log_me_is_the_largest_evidence(n, d):
    features, labels = blobs(n, d)
    if n > d:
        assert log_me(features, labels) == pytest.approx(plain_log_me(features, labels), abs=1e-4)
    else:  # a perfect fit has no largest evidence; the authors' constant keeps it finite
        assert np.isfinite(log_me(features, labels))


def test_h_score_is_the_plain_trace():
    features, labels = blobs()
    assert h_score(features, labels) == pytest.approx(plain_h_score(features, labels), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(90, 6), (40, 60), (30, 30)])
def test_regularised_h_score_uses_the_covariance_of_ledoit_and_wolf(n, d):
    features, labels = blobs(n, d)
    covariance, weight = ledoit_wolf(features.astype(np.float64))
    expected = plain_h_score(features, labels, covariance, 1 - weight)
    assert regularised_h_score(features, labels) == pytest.approx(expected, rel=1e-5)


def test_both_gram_matrices_give_the_same(monkeypatch):
    features, labels = blobs(60, 60)
    rows = [score(features, labels) for score in OF_FEATURES]
    wide = np.hstack([features, np.zeros((60, 5), np.float32)])  # d > n, and nothing added
    assert [score(wide, labels) for score in OF_FEATURES[:2]] == pytest.approx(rows[:2], rel=1e-6)
    tall = np.vstack([features, features])  # n > d, summed in blocks that do not divide it
    monkeypatch.setattr(transferability, "BLOCK", 7)
    assert h_score(tall, np.r_[labels, labels]) == pytest.approx(rows[1], rel=1e-6)


def test_few_images_blow_up_the_plain_h_score_alone():
    features, labels = blobs(30, 200, gap=0)
    assert h_score(features, labels) == pytest.approx(2)
    assert regularised_h_score(features, labels) < 1


@pytest.mark.parametrize("score", OF_FEATURES)
def test_better_features_score_higher(score):
    values = [score(*blobs(gap=gap)) for gap in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 40))
def test_what_must_not_matter(seed, k, d):
    features, labels = blobs(60, d, k, seed=seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(60), rng.permutation(50)[:k]
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    for score in OF_FEATURES:
        value = score(features, labels)
        assert score(features[order], labels[order]) == pytest.approx(value, rel=1e-4, abs=1e-6)
        assert score(features, names[labels]) == pytest.approx(value, rel=1e-4, abs=1e-6)
        assert score(features @ turn, labels) == pytest.approx(value, rel=1e-3, abs=1e-5)
    assert 0 <= h_score(features, labels) <= k - 1 + 1e-9
    mixed = features @ rng.normal(size=(d, d)) + 3
    assert h_score(mixed, labels) == pytest.approx(h_score(features, labels), rel=0.02)
    assert regularised_h_score(features * 5 + 1, labels) == pytest.approx(
        regularised_h_score(features, labels), rel=1e-3, abs=1e-6
    )


@pytest.mark.parametrize("features", [np.zeros((20, 3)), np.ones((20, 3)), np.ones((20, 1))])
def test_features_that_say_nothing(features):
    labels = np.arange(20) % 2
    assert h_score(features, labels) == pytest.approx(0, abs=1e-9)
    assert regularised_h_score(features, labels) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(log_me(features, labels))


# ---- from the source classifier's probabilities --------------------------------------------------


def test_nce_and_leep_of_a_source_that_knows_all_and_of_one_that_knows_nothing():
    labels = np.arange(12) % 3
    knows = np.eye(5)[labels + 1]
    assert nce(labels + 1, labels) == 0
    assert leep(knows, labels) == pytest.approx(0)
    assert nce(np.zeros(12, int), labels) == pytest.approx(-np.log(3))
    assert leep(np.full((12, 5), 0.2), labels) == pytest.approx(-np.log(3))


def test_leep_by_hand():
    theta = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    labels = np.array([0, 0, 1, 1])
    given_first = 1.5 / 2  # p(label 0 | source class 0); for class 1 it is 0.5 / 2
    expected = np.log([(given_first + 0.25) / 2, given_first, 0.75, (0.75 + 0.25) / 2])
    assert leep(theta, labels) == pytest.approx(expected.mean())


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 4))
def test_nce_is_the_conditional_entropy_and_bounds(seed, m, k):
    rng = np.random.default_rng(seed)
    source, labels = rng.integers(m, size=50), rng.integers(k, size=50)
    joint = np.zeros((k, m))
    for pair in zip(labels, source, strict=True):
        joint[pair] += 1 / 50
    marginal = joint.sum(axis=0)
    entropy = -sum(
        joint[i, j] * np.log(joint[i, j] / marginal[j])
        for i in range(k)
        for j in range(m)
        if joint[i, j]
    )
    assert nce(source, labels) == pytest.approx(-entropy)
    assert leep(np.eye(m)[source], labels) == pytest.approx(-entropy)
    soft = rng.dirichlet(np.ones(m), size=50).astype(np.float32)
    assert leep(soft, labels) <= 1e-9
    assert leep(soft[:, rng.permutation(m)], labels) == pytest.approx(leep(soft, labels), rel=1e-6)
