"""Intervals cover what they claim, also near 0 and 1, and agree with tables and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.core import proportions
from headstart.evaluation import metrics
from headstart.evaluation.metrics.design import Design
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn import metrics as reference

NAMES = ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc", "calibration_error"]


def answers(n, k, seed=0, sharpness=2.0):
    """Return true codes and probabilities that are right more often than not."""
    rng = np.random.default_rng(seed)
    true = rng.integers(k, size=n)
    values = rng.normal(size=(n, k))
    values[np.arange(n), true] += sharpness
    weights = np.exp(sharpness * values)
    return true, weights / weights.sum(axis=1, keepdims=True)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_is_scipys_but_for_rare_events(hits, n):
    hits = min(hits, n)
    low, high = metrics.wilson(hits / n, n, 1.959963984540054)
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    rare = min(hits, n - hits) <= proportions.RARE
    assert low == pytest.approx(expected.low, abs=1e-9) or (rare and low <= expected.low)
    assert high == pytest.approx(expected.high, abs=1e-9) or (rare and high >= expected.high)
    assert 0 <= low <= hits / n <= high <= 1


@pytest.mark.cases(12)
@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 100, 200, 400])
@pytest.mark.parametrize("share", [0.7, 0.9, 0.97, 0.98, 0.99, 0.995])
def test_the_interval_of_an_accuracy_covers_it(n, share):
    """The coverage is exact: a sum over all numbers of errors."""
    covered = 0.0
    for hits in range(n + 1):
        low, high = metrics.accuracy_interval(np.arange(n) < hits)
        covered += binom.pmf(hits, n, share) * (low <= share <= high)
    assert 0.92 <= covered <= 0.99


def test_a_classifier_without_errors_has_an_interval_with_width():
    low, high = metrics.accuracy_interval(np.ones(50, bool))
    assert 0.90 < low < 0.95
    assert high == 1


@pytest.mark.slow
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 999))
def test_every_interval_contains_its_score_and_repeats(n, k, seed):
    true, probabilities = answers(n, k, seed, sharpness=1 + seed % 4)
    found = metrics.score_intervals(true, probabilities, seed)
    assert list(found) == NAMES
    assert found == metrics.score_intervals(true, probabilities, seed)
    predicted = probabilities.argmax(axis=1)
    error = metrics.calibration(predicted == true, probabilities.max(axis=1), seed).error
    expected = {
        "accuracy": np.mean(predicted == true),
        "balanced_accuracy": reference.recall_score(
            true, predicted, labels=np.unique(true), average="macro", zero_division=0
        ),
        "macro_f1": reference.f1_score(true, predicted, average="macro", zero_division=0),
        "log_loss": metrics.log_loss(true, probabilities),
        "roc_auc": metrics.roc_auc(true, probabilities)[0],
        "calibration_error": error,
    }
    for name, score in expected.items():
        if score is None:
            assert found[name] is None
            continue
        low, high = found[name]
        assert low - 1e-9 <= score <= high + 1e-9, name
        assert low >= 0, name
        assert name == "log_loss" or high <= 1, name


@pytest.mark.further("test_every_interval_contains_its_score_and_repeats")
@pytest.mark.slow
def test_intervals_of_many_images_are_those_of_the_bootstrap():
    """Where the bootstrap is right, with many errors, both agree."""
    true, probabilities = answers(1500, 4, sharpness=1.2)
    found = metrics.score_intervals(true, probabilities, 0)
    rng, draws = np.random.default_rng(1), {name: [] for name in NAMES[:5]}
    for _ in range(300):
        rows = rng.integers(1500, size=1500)
        codes, drawn = true[rows], probabilities[rows]
        predicted = drawn.argmax(axis=1)
        draws["accuracy"].append(np.mean(codes == predicted))
        draws["balanced_accuracy"].append(reference.balanced_accuracy_score(codes, predicted))
        draws["macro_f1"].append(reference.f1_score(codes, predicted, average="macro"))
        draws["log_loss"].append(metrics.log_loss(codes, drawn))
        draws["roc_auc"].append(metrics.roc_auc(codes, drawn)[0])
    for name, values in draws.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert found[name] == pytest.approx((low, high), abs=0.3 * (high - low)), name


def test_a_perfect_ranking_has_an_interval_with_width():
    true = np.arange(40) % 2
    probabilities = np.where(np.eye(2)[true] > 0, 0.99, 0.01)
    found = metrics.score_intervals(true, probabilities, 0)
    for name in ("roc_auc", "balanced_accuracy", "macro_f1"):
        assert found[name][0] < 0.97, name
        assert found[name][1] == 1, name
    assert found["log_loss"][1] > 0.05  # an error may be among the next images


def test_one_class_has_no_curve_but_every_other_interval():
    found = metrics.score_intervals(np.zeros(9, int), np.full((9, 2), 0.5), seed=0)
    assert found["roc_auc"] is None
    assert found["accuracy"][0] < 0.8
    assert found["accuracy"][1] == 1


@given(st.integers(2, 30), st.integers(0, 99))
def test_copies_do_not_narrow_an_interval_if_they_are_known_to_be_copies(size, seed):
    correct = np.random.default_rng(seed).random(40) < 0.7
    low, high = metrics.accuracy_interval(correct)
    copies, groups = np.tile(correct, size), np.tile(np.arange(40), size)
    found = metrics.accuracy_interval(copies, groups)
    assert found[1] - found[0] >= (high - low) * 0.99
    assert found[1] - found[0] <= (high - low) * 1.25
    assert metrics.accuracy_interval(correct, np.arange(40)) == (low, high)


def test_groups_widen_the_interval_of_every_score():
    true, probabilities = answers(300, 3, sharpness=1.2)
    copies = np.repeat(np.arange(300), 5)
    alone = metrics.score_intervals(true[copies], probabilities[copies], 0)
    together = metrics.score_intervals(true[copies], probabilities[copies], 0, groups=copies)
    for name in NAMES:
        assert np.diff(together[name]) > 1.5 * np.diff(alone[name]), name


def test_few_errors_count_as_if_all_images_of_a_group_agreed():
    groups = np.repeat(np.arange(20), 5)
    clean = Design.of(np.ones(100, bool), groups)
    assert clean.effect(np.zeros(100)) == 5
    rng = np.random.default_rng(0)
    correct = rng.random(100) < 0.6
    independent = Design.of(correct, groups).effect(correct - correct.mean())
    assert 1 <= independent < 2.5


def test_intervals_of_recall_and_precision_are_wilsons():
    true, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])
    found = metrics.class_intervals(true, predicted, 3)
    assert found["recall_ci"][2] == found["precision_ci"][2] == []
    assert found["recall_ci"][0] == pytest.approx(metrics.accuracy_interval(np.arange(3) < 2))
    assert found["precision_ci"][1] == pytest.approx(metrics.accuracy_interval(np.arange(3) < 2))


def test_answers_out_of_fold_widen_every_interval_but_that_of_calibration():
    rng = np.random.default_rng(3)
    true = rng.integers(4, size=120)
    probabilities = rng.dirichlet(np.ones(4), 120) + 0.4 * np.eye(4)[true]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    of_test = metrics.score_intervals(true, probabilities, 0)
    of_folds = metrics.score_intervals(true, probabilities, 0, worth=metrics.OUT_OF_FOLD)
    assert of_folds.pop("calibration_error") == of_test.pop("calibration_error")
    for name, (low, high) in of_test.items():
        assert of_folds[name][0] < low < high < of_folds[name][1], name
    predicted = probabilities.argmax(axis=1)
    narrow = metrics.class_intervals(true, predicted, 4)["recall_ci"][0]
    wide = metrics.class_intervals(true, predicted, 4, metrics.OUT_OF_FOLD)["recall_ci"][0]
    assert wide[0] < narrow[0]
