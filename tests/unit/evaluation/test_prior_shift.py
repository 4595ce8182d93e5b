"""Shares of classes estimated from probabilities, and probabilities under other shares."""

import numpy as np
import pytest
from headstart.evaluation.prior_shift import correct, estimate

TRAINING = np.array([0.5, 0.3, 0.2])


def drawn(n, shares, seed, gap=2.0):
    """True codes, and probabilities that are calibrated for the shares of training."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, n, p=shares)
    logits = gap * (rng.normal(size=(n, 3)) + gap * np.eye(3)[codes]) + np.log(TRAINING)
    return codes, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.slow
def test_intervals_cover_the_true_shares():
    hits = []
    for seed in range(150):
        shares = np.random.default_rng(seed).dirichlet(np.ones(3))
        _, probabilities = drawn(300, shares, seed)
        shift = estimate(probabilities, TRAINING)
        assert shift.shares.sum() == pytest.approx(1)
        hits += [low <= s <= high for s, (low, high) in zip(shares, shift.intervals, strict=True)]
    assert np.mean(hits) >= 0.92


def test_a_class_that_is_absent_has_a_share_near_zero_and_an_interval():
    _, probabilities = drawn(300, [0.6, 0.4, 0.0], 1)
    shift = estimate(probabilities, TRAINING)
    low, high = shift.intervals[2]
    assert shift.shares[2] < 0.05
    assert low < 0.01
    assert 0 < high < 0.4


def test_corrected_probabilities_have_a_lower_loss_and_equal_shares_change_nothing():
    codes, probabilities = drawn(2000, [0.05, 0.15, 0.8], 2, gap=1.2)
    shift = estimate(probabilities, TRAINING)
    better = correct(probabilities, TRAINING, shift.shares)
    rows = np.arange(len(codes))
    assert np.log(better[rows, codes]).mean() > np.log(probabilities[rows, codes]).mean() + 0.05
    np.testing.assert_allclose(correct(probabilities, TRAINING, TRAINING), probabilities)


def test_images_of_a_group_widen_the_intervals():
    _, probabilities = drawn(60, TRAINING, 3)
    bursts = np.repeat(np.arange(60), 5)
    alone = estimate(probabilities[bursts], TRAINING).intervals[0]
    together = estimate(probabilities[bursts], TRAINING, bursts).intervals[0]
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
