"""Learning curves: fair draws, a fit that recovers what is there, intervals that mean something."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation import learning_curve
from headstart.evaluation.learning_curve import Curve, describe, draw, fit, measure
from hypothesis import example, given
from hypothesis import strategies as st


def test_eight_sizes_halve_down_from_the_pool():
    labels = np.arange(3400) % 10
    draws = draw(labels, np.arange(3400) // 10 % 5, seed=0)
    assert len(draws) == 5
    assert [len(rows) for rows in draws[0].fits] == pytest.approx(
        [2720 / 2**i for i in range(7, -1, -1)], rel=0.1
    )
    counts = np.bincount(labels[draws[0].fits[3]])
    assert np.ptp(counts) <= 1


def test_large_pools_fit_no_more_than_they_must():
    labels = np.arange(200_000) % 10
    sizes = [len(rows) for rows in draw(labels, np.arange(200_000) % 5, seed=0)[0].fits]
    assert sizes[-1] == 160_000
    assert max(sizes[:-1]) <= learning_curve.MOST
    assert len(sizes) >= 6


@given(
    st.lists(st.integers(2, 60), min_size=2, max_size=5),
    st.integers(2, 6),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_draws_are_nested_hold_one_fold_out_and_keep_every_class(counts, folds, predefined, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(len(labels)) % folds)
    if predefined:
        fold = np.where(fold == 0, 0, -1)
    for number, one in enumerate(draw(labels, fold, seed)):
        held_out = number % len(np.unique(fold[fold >= 0]))
        assert one.held_out.tolist() == np.flatnonzero(fold == held_out).tolist()
        outside = np.flatnonzero(fold != held_out)
        assert one.fits[-1].tolist() == outside.tolist()
        sizes = [len(rows) for rows in one.fits]
        assert sizes == sorted(sizes)
        for small, large in zip(one.fits, one.fits[1:], strict=False):
            assert set(small) <= set(large)
        for rows in one.fits:
            assert set(labels[rows]) == set(labels[outside])
    again = draw(labels, fold, seed)
    assert all(np.array_equal(a, b) for a, b in zip(one.fits, again[number].fits, strict=True))


@pytest.mark.parametrize("recorded", [False, True])
def test_the_largest_size_is_fitted_once_a_fold_or_what_cross_validation_knows(recorded):
    labels = np.arange(100) % 2
    fold = np.arange(100) // 2 % 5
    draws = draw(labels, fold, seed=0, draws=10)
    whole = np.where(np.arange(100) < 80, labels, 1 - labels)
    asked = []

    def answers(pairs):
        asked.extend(pairs)
        return [(whole if len(rows) == 80 else labels)[held_out].copy() for rows, held_out in pairs]

    curve = measure(draws, labels, answers, whole if recorded else None)
    assert len(asked) == 10 * (len(curve.images) - 1) + 5 * (not recorded)
    accuracy = np.mean([correct.mean(axis=1) for correct in curve.correct], axis=0)
    assert accuracy[:-1].tolist() == [1] * (len(curve.images) - 1)
    assert accuracy[-1] == pytest.approx(0.8)
    assert curve.images[-1] == 80


@pytest.mark.slow
@given(st.floats(0.5, 1), st.floats(0.1, 2), st.floats(0.1, 1))
@example(ceiling=1.0, scale=2.0, exponent=0.23046875)
def test_a_power_law_is_recovered(ceiling, scale, exponent):
    images = np.array([20.0, 40, 80, 160, 320, 640, 1280])
    accuracy = ceiling - scale * images**-exponent
    law = fit(images, accuracy[None])
    assert law.accuracy(2560)[0] == pytest.approx(ceiling - scale * 2560**-exponent, abs=5e-3)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_any_curve_gets_a_law_without_descent_or_more_than_all_right(seed):
    accuracy = np.random.default_rng(seed).random((5, 6))
    law = fit(np.array([2.0, 4, 9, 20, 41, 80]), accuracy)
    assert (law.ceiling <= 1).all()
    assert (law.scale >= 0).all()
    assert (law.accuracy(160) >= law.accuracy(80) - 1e-12).all()


def curve(images=(20, 40, 80, 160, 320), held_out=200, seed=0):
    rng = np.random.default_rng(seed)
    accuracy = 0.9 - 2.0 * np.array(images, float) ** -0.6
    correct = [rng.random(held_out) < accuracy[:, None] for _ in range(5)]
    return Curve(np.array(images, float), 4, correct)


@pytest.mark.slow
def test_the_description_says_what_doubling_brings():
    told = describe(curve(), total=400, seed=1)
    assert told == describe(curve(), total=400, seed=1)
    assert [point.images_per_class for point in told.points] == [5, 10, 20, 40, 80]
    for point in told.points:
        low, high = point.accuracy_ci
        assert low < point.accuracy < high
    doubling = told.doubling
    assert doubling.images == 800
    low, high = doubling.accuracy_ci
    assert low <= 0.9 - 2.0 * 800**-0.6 <= high
    assert doubling.gain_ci[0] <= doubling.gain <= doubling.gain_ci[1]
    assert doubling.gain >= 0


def test_too_few_sizes_are_shown_and_not_fitted():
    told = describe(curve(images=(20, 40, 80)), total=100, seed=0)
    assert len(told.points) == 3
    assert told.fit is told.doubling is None


@pytest.mark.further(
    "tests/unit/evaluation/compare/test_insights.py::test_the_curve_rises_to_the_cross_validated_accuracy"
)
@pytest.mark.slow
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(level):
    accuracy = 0.9 - 2.0 * np.array([20, 40, 80, 160, 320]) ** -0.6
    held = []
    for seed in range(60 if level == "all" else 20):
        for at, point in enumerate(describe(curve(seed=seed), 400, seed).points):
            low, high = point.accuracy_ci
            held.append(low <= accuracy[at] <= high)
    assert np.mean(held) > 0.88


def test_the_interval_of_a_gain_grows_with_the_gain_and_the_noise():
    low, high = learning_curve.gain_interval(0.05, 0.9, 1_000_000)
    assert 0 < low < 0.05 < high < 0.1
    assert learning_curve.gain_interval(0.0, 0.9, 100)[0] == 0
    assert learning_curve.gain_interval(0.05, 0.9, 100)[1] > high


def test_of_many_images_one_fold_is_held_out(monkeypatch):
    fold = np.array([[1, 0, 2, -1, 0, 1], [0, 0, 1, -1, 2, 2]])
    assert learning_curve.folds_to_hold_out(fold).tolist() == fold[0].tolist()
    monkeypatch.setattr(learning_curve, "MOST", 5)
    assert learning_curve.folds_to_hold_out(fold).tolist() == [-1, 0, -1, -1, 0, -1]
