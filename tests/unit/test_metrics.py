"""The scores agree with scikit-learn's, and the intervals with resampling done literally."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from pipeline import metrics


@st.composite
def label_pairs(draw):
    k = draw(st.integers(2, 6))
    n = draw(st.integers(1, 40))
    codes = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    return np.array(draw(codes), dtype=np.int32), np.array(draw(codes)), k


@given(label_pairs())
def test_scores_agree_with_scikit_learn(pair):
    true, predicted, k = pair
    assert metrics.accuracy(true, predicted) == reference.accuracy_score(true, predicted)
    assert metrics.macro_f1(true, predicted) == pytest.approx(
        reference.f1_score(true, predicted, average="macro", zero_division=0)
    )
    table = metrics.confusion(true, predicted, k)
    assert table.tolist() == reference.confusion_matrix(true, predicted, labels=range(k)).tolist()
    assert table.sum() == len(true)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 5))
def test_log_loss_agrees_with_scikit_learn(seed, n, k):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(k, 0.3), size=n)
    true = rng.integers(k, size=n)
    assert metrics.log_loss(true, probabilities) == pytest.approx(
        reference.log_loss(true, probabilities, labels=range(k)), rel=1e-9
    )


def test_log_loss_of_a_class_ruled_out_is_large_but_finite():
    assert metrics.log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(36.04, abs=0.01)
    assert metrics.log_loss(np.array([1]), np.array([[0.0, 1.0]])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "share"), [(30, 0.8), (372, 0.9), (1000, 0.55)])
def test_bootstrap_interval_is_that_of_literal_resampling(n, share):
    rng = np.random.default_rng(1)
    correct = rng.random(n) < share
    resampled = correct[rng.integers(n, size=(20_000, n))].mean(axis=1)
    expected = np.quantile(resampled, [0.025, 0.975])
    found = metrics.bootstrap_interval(correct, seed=0, resamples=20_000)
    assert found == pytest.approx(expected, abs=1.01 / n)


def test_paired_bootstrap_is_that_of_literal_resampling():
    rng = np.random.default_rng(2)
    a, b = rng.random(400) < 0.9, rng.random(400) < 0.8
    b[:300] = a[:300]
    rows = rng.integers(400, size=(20_000, 400))
    expected = np.quantile(a[rows].mean(axis=1) - b[rows].mean(axis=1), [0.025, 0.975])
    found = metrics.paired_bootstrap(a, b, seed=0, resamples=20_000)
    assert found == pytest.approx(expected, abs=1.01 / 400)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_intervals_hold_the_observed_value_and_pairing_is_antisymmetric(pairs):
    a, b = np.array(pairs).T
    low, high = metrics.bootstrap_interval(a, seed=3)
    assert 0 <= low <= a.mean() <= high <= 1
    low, high = metrics.paired_bootstrap(a, b, seed=3)
    assert -1 <= low <= a.mean() - b.mean() <= high <= 1
    assert metrics.paired_bootstrap(a, a, seed=3) == (0, 0)


def test_intervals_repeat_with_the_seed_and_widen_with_the_level():
    correct = np.arange(100) % 7 > 0
    once = metrics.bootstrap_interval(correct, seed=5)
    assert once == metrics.bootstrap_interval(correct, seed=5)
    wide = metrics.bootstrap_interval(correct, seed=5, level=0.999)
    assert wide[0] < once[0] < once[1] < wide[1]


def test_a_classifier_without_errors_has_an_interval_without_width():
    assert metrics.bootstrap_interval(np.ones(20, dtype=bool), seed=0) == (1, 1)
