"""The intervals agree with resampling done literally, and the exact test with scikit and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation import metrics
from headstart.evaluation.metrics import intervals
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference


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
    assert 0 <= low <= a.mean() + 1e-12
    assert a.mean() - 1e-12 <= high <= 1
    low, high = metrics.paired_bootstrap(a, b, seed=3)
    assert -1 <= low <= a.mean() - b.mean() + 1e-12
    assert a.mean() - b.mean() - 1e-12 <= high <= 1
    assert metrics.paired_bootstrap(a, a, seed=3) == (0, 0)
    assert metrics.paired_bootstrap(b, a, seed=3) == pytest.approx((-high, -low), abs=1e-9)


def test_intervals_repeat_with_the_seed_and_widen_with_the_level():
    correct = np.arange(100) % 7 > 0
    once = metrics.bootstrap_interval(correct, seed=5)
    assert once == metrics.bootstrap_interval(correct, seed=5)
    wide = metrics.bootstrap_interval(correct, seed=5, level=0.999)
    assert wide[0] < once[0] < once[1] < wide[1]


def test_a_classifier_without_errors_has_an_interval_without_width():
    assert metrics.bootstrap_interval(np.ones(20, dtype=bool), seed=0) == (1, 1)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    true, probabilities = rng.integers(4, size=90), rng.dirichlet(np.ones(4), size=90)
    whole = metrics.score_intervals(true, probabilities, seed=1)
    monkeypatch.setattr(intervals, "BLOCK_CELLS", 1000)
    for name, interval in metrics.score_intervals(true, probabilities, seed=1).items():
        assert interval == pytest.approx(whole[name], abs=1e-7)


def literal_scores(true, probabilities, rows):
    """All scores of one draw, by scikit-learn where it has them."""
    true, probabilities = true[rows], probabilities[rows]
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    labels = np.unique(true)
    return {
        "accuracy": np.mean(true == predicted),
        "balanced_accuracy": reference.recall_score(
            true, predicted, labels=labels, average="macro", zero_division=0
        ),
        "macro_f1": reference.f1_score(true, predicted, average="macro", zero_division=0),
        "log_loss": metrics.log_loss(true, probabilities),
        "roc_auc": metrics.roc_auc(true, probabilities)[0],
        "ece": metrics.expected_calibration_error(true == predicted, confidence),
    }


@pytest.mark.slow
def test_the_intervals_of_all_scores_are_those_of_literal_resampling():
    rng = np.random.default_rng(6)
    true = rng.integers(3, size=150)
    probabilities = rng.dirichlet(np.ones(3), size=150)
    probabilities[np.arange(150), true] += rng.random(150)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    draws = [literal_scores(true, probabilities, rng.integers(150, size=150)) for _ in range(1500)]
    found = metrics.score_intervals(true, probabilities, seed=0, resamples=6000)
    for name, interval in found.items():
        expected = np.quantile([draw[name] for draw in draws], [0.025, 0.975])
        width = expected[1] - expected[0]
        assert interval == pytest.approx(expected, abs=0.15 * width), name
    assert list(found) == list(draws[0])


def test_each_draw_is_scored_exactly(monkeypatch):
    """No sampling error here: the same weights, image by image, through the plain scores."""
    rng = np.random.default_rng(7)
    true, probabilities = rng.integers(5, size=40), rng.dirichlet(np.ones(5), size=40)
    (weights,) = intervals._weights(40, 3, 25, None)
    found = intervals._Resampled(true, probabilities).scores(weights)
    for number, row in enumerate(weights.astype(int)):
        expected = literal_scores(true, probabilities, np.repeat(np.arange(40), row))
        for name in set(expected) - {"roc_auc"}:
            assert found[name][number] == pytest.approx(expected[name], abs=1e-6), name


def test_one_class_has_no_curve_but_every_other_interval():
    found = metrics.score_intervals(np.zeros(9, int), np.full((9, 2), 0.5), seed=0)
    assert found["roc_auc"] is None
    assert found["accuracy"] == (1, 1)


@given(st.integers(2, 30), st.integers(0, 99))
def test_images_that_belong_together_count_as_one(size, seed):
    """Copies of every image do not narrow the interval, if they are known to be copies."""
    correct = np.random.default_rng(seed).random(40) < 0.7
    once = metrics.bootstrap_interval(correct, seed=seed)
    copies, groups = np.tile(correct, size), np.tile(np.arange(40), size)
    assert metrics.bootstrap_interval(copies, seed, groups=groups) == pytest.approx(once)
    paired = metrics.paired_bootstrap(copies, ~copies, seed, groups=groups)
    assert paired == pytest.approx(metrics.paired_bootstrap(correct, ~correct, seed))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(pairs):
    a, b = np.array(pairs).T
    only_a, discordant = int(np.sum(a & ~b)), int(np.sum(a != b))
    expected = binomtest(only_a, discordant).pvalue if discordant else 1.0
    assert metrics.mcnemar(a, b) == pytest.approx(expected)
    assert metrics.mcnemar(a, b) == metrics.mcnemar(b, a)
