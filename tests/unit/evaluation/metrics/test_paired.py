"""The exact test agrees with scipy and with all sign flips; verdict, p and interval agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from headstart.evaluation import metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(PAIRS)
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(pairs):
    a, b = np.array(pairs).T
    only_a, discordant = int(np.sum(a & ~b)), int(np.sum(a != b))
    expected = binomtest(only_a, discordant).pvalue if discordant else 1.0
    assert metrics.mcnemar(a, b) == pytest.approx(expected)
    assert metrics.mcnemar(a, b) == metrics.mcnemar(b, a)
    assert metrics.mcnemar(a, b, np.arange(len(a))) == pytest.approx(expected)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_with_groups_the_test_flips_the_signs_of_their_sums(sums):
    a = np.concatenate([np.full(max(abs(s), 1), s > 0) for s in sums])
    b = np.concatenate([np.full(max(abs(s), 1), s < 0) for s in sums])
    groups = np.repeat(np.arange(len(sums)), [max(abs(s), 1) for s in sums])
    flips = [np.dot(signs, sums) for signs in itertools.product((-1, 1), repeat=len(sums))]
    expected = np.mean(np.abs(flips) >= abs(sum(sums)))
    assert metrics.mcnemar(a, b, groups) == pytest.approx(expected)


def test_holm_is_the_textbooks():
    assert metrics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert metrics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert metrics.holm([]) == []


@given(st.integers(0, 999), st.integers(1, 6), st.booleans(), st.booleans())
def test_verdict_p_and_interval_never_disagree(seed, others, grouped, chosen_here):
    rng = np.random.default_rng(seed)
    best = rng.random(80) < 0.9
    rivals = [np.where(rng.random(80) < 0.5, best, rng.random(80) < 0.6) for _ in range(others)]
    groups = np.arange(80) // 3 if grouped else None
    for found, rival in zip(
        metrics.compare_with(best, rivals, groups, chosen_here), rivals, strict=True
    ):
        low, high = found.interval
        assert found.p >= metrics.mcnemar(rival, best, groups)
        assert found.decided == (found.p <= 0.05) == (not low <= 0 <= high)
        assert low <= found.difference <= high
        assert 0 < found.visible <= 1


def test_four_images_decide_nothing():
    best = np.ones(100, bool)
    rival = np.arange(100) >= 4
    (found,) = metrics.compare_with(best, [rival])
    assert found.p == pytest.approx(0.125)
    assert not found.decided
    assert found.visible >= 0.06


def test_a_difference_as_large_as_the_visible_one_is_seen_four_times_in_five():
    rng = np.random.default_rng(0)
    n, apart, seen, visible = 400, 0.10, 0, []
    for _ in range(150):
        kind = rng.choice(3, n, p=[1 - apart, 0.75 * apart, 0.25 * apart])
        best, rival = kind != 2, kind != 1
        (found,) = metrics.compare_with(best, [rival])
        visible.append(found.visible)
        seen += found.decided
    assert np.mean(visible) == pytest.approx(0.5 * apart, abs=0.012)
    assert 0.6 < seen / 150 < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("entries", [4, 12, 40])
def test_false_verdicts_are_rare_in_a_whole_table(entries):
    """Equally good heads that share which images are hard."""
    rng = np.random.default_rng(1)
    tables = []
    for _ in range(60):
        hard = rng.normal(size=200)
        right = hard + rng.normal(size=(entries, 200)) < 1.8
        tables.append(any(c.decided for c in metrics.compare_with(right[0], list(right[1:]))))
    assert np.mean(tables) <= 0.1


def test_a_difference_whose_p_is_zero_in_floating_point_is_decided():
    best = np.ones(4000, bool)
    (compared,) = metrics.compare_with(best, [~best])
    assert compared.p == 0
    assert compared.difference == -1
    assert compared.interval[1] < 0
