"""The scores agree with scikit-learn's and with their definitions spelled out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from headstart.evaluation import metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def label_pairs(draw):
    k = draw(st.integers(2, 6))
    n = draw(st.integers(1, 40))
    codes = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    return np.array(draw(codes), dtype=np.int32), np.array(draw(codes)), k


def scored(seed, n, k, ties=False):
    """Labels of which each class has one at least, and probabilities, with many ties if wanted."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(k, 0.3), size=n)
    if ties:
        votes = rng.integers(0, 3, size=(n, k)) + 1
        probabilities = votes / votes.sum(axis=1, keepdims=True)
    true = np.concatenate([np.arange(k), rng.integers(k, size=n - k)])
    return true, probabilities


@pytest.mark.slow
@given(label_pairs())
def test_scores_of_labels_agree_with_scikit_learn(pair):
    true, predicted, k = pair
    assert metrics.accuracy(true, predicted) == reference.accuracy_score(true, predicted)
    scores = metrics.class_scores(true, predicted, k)
    assert scores.macro_f1 == pytest.approx(
        reference.f1_score(true, predicted, average="macro", zero_division=0)
    )
    assert scores.balanced_accuracy == pytest.approx(
        reference.recall_score(
            true, predicted, labels=np.unique(true), average="macro", zero_division=0
        )
    )
    table = metrics.confusion(true, predicted, k)
    assert table.tolist() == reference.confusion_matrix(true, predicted, labels=range(k)).tolist()
    assert table.sum() == len(true)
    expected = reference.precision_recall_fscore_support(
        true, predicted, labels=range(k), zero_division=np.nan
    )
    for ours, theirs in zip(metrics.class_scores(true, predicted, k), expected, strict=True):
        assert np.allclose(ours, theirs, equal_nan=True)


@given(SEEDS, st.integers(6, 40), st.integers(2, 5))
def test_log_loss_agrees_with_scikit_learn(seed, n, k):
    true, probabilities = scored(seed, n, k)
    assert metrics.log_loss(true, probabilities) == pytest.approx(
        reference.log_loss(true, probabilities, labels=range(k)), rel=1e-9
    )
    assert metrics.log_losses(true, probabilities).shape == (n,)


def test_log_loss_of_a_class_ruled_out_is_large_but_finite():
    assert metrics.log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(36.04, abs=0.01)
    assert metrics.log_loss(np.array([1]), np.array([[0.0, 1.0]])) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
@given(SEEDS, st.integers(6, 40), st.integers(3, 5), st.booleans())
def test_the_area_under_the_curves_agrees_with_scikit_learn(seed, n, k, ties):
    true, probabilities = scored(seed, n, k, ties)
    area, slopes = metrics.roc_auc(true, probabilities)
    expected = reference.roc_auc_score(true, probabilities, multi_class="ovr", average="macro")
    assert area == pytest.approx(expected)
    # Giving every image the same weight more changes nothing.
    assert slopes.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
@given(SEEDS)
def test_the_slopes_of_the_area_are_its_derivatives(seed):
    true, probabilities = scored(seed, 30, 3)
    area, slopes = metrics.roc_auc(true, probabilities)
    step = 1e-5
    for row in range(0, 30, 13):
        weights = np.ones(30)
        weights[row] += step
        moved = np.mean(
            [
                reference.roc_auc_score(true == c, probabilities[:, c], sample_weight=weights)
                for c in range(3)
            ]
        )
        assert (moved - area) / step == pytest.approx(slopes[row], abs=1e-4)


def test_the_area_needs_two_classes_and_skips_those_without_images():
    probabilities = np.array([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    area, slopes = metrics.roc_auc(np.zeros(3, int), probabilities)
    assert area is None
    assert slopes.tolist() == [0, 0, 0]
    assert metrics.roc_auc(np.array([0, 1, 0]), probabilities)[0] == 1


@given(SEEDS, st.integers(6, 60), st.integers(2, 5))
def test_calibration_error_is_its_definition(seed, n, k):
    true, probabilities = scored(seed, n, k)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == true
    expected, edges = 0.0, np.linspace(0, 1, metrics.ECE_BINS + 1)
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert metrics.expected_calibration_error(correct, confidence) == pytest.approx(expected)
    bins = metrics.reliability(correct, confidence)
    assert bins.images.sum() == n
    filled = bins.images > 0
    assert np.isnan(bins.accuracy[~filled]).all()
    gaps = np.abs(bins.accuracy - bins.confidence)[filled]
    assert np.average(gaps, weights=bins.images[filled]) == pytest.approx(expected)


def test_confidences_of_0_and_1_lie_in_the_outer_bins():
    bins = metrics.reliability(np.array([True, False]), np.array([1.0, 0.0]), bins=4)
    assert bins.images.tolist() == [1, 0, 0, 1]
    assert metrics.expected_calibration_error(np.array([True] * 4), np.full(4, 0.25), 4) == 0.75
