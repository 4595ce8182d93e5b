"""Thresholds of confidence that keep their promise."""

import numpy as np
import pytest
from headstart.core.errors import UsageError
from headstart.evaluation.operating_points import (
    Ranked,
    check,
    choose,
    curve,
    parse_targets,
)

DRAWS = 100
MOST = 0.05 * DRAWS + 2 * np.sqrt(DRAWS * 0.05 * 0.95)  # broken promises, by chance


def drawn(n, seed, mean=2.5, flatter=1.0):
    """Answers of a classifier that is calibrated if ``flatter`` is 1, and their true chances."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(mean, 1.8, n)
    chance = 1 / (1 + np.exp(-logit))
    order = np.argsort(-chance)
    chance, logit = chance[order], logit[order]
    return Ranked(1 / (1 + np.exp(-flatter * logit)), rng.random(n) < chance), chance


def flat(n, seed, accuracy):
    """Answers whose confidence says nothing."""
    rng = np.random.default_rng(seed)
    return Ranked(np.sort(0.9 + 0.1 * rng.random(n))[::-1], rng.random(n) < accuracy)


@pytest.mark.parametrize(("target", "flatter"), [(0.95, 0.7), (0.95, 1.5), (0.98, 1.0)])
def test_a_promise_is_broken_in_at_most_one_of_twenty_choices(target, flatter):
    broken = 0
    for seed in range(DRAWS):
        answers, chance = drawn(2000, seed, flatter=flatter)
        point = choose(answers, target)
        beyond = answers.confidence >= point.threshold
        broken += point.reached and chance[beyond].mean() < target
    assert broken <= MOST


def test_confidence_that_says_nothing_promises_nothing_falsely():
    reached = sum(choose(flat(2000, seed, 0.949), 0.95).reached for seed in range(DRAWS))
    assert reached <= MOST


@pytest.mark.slow
def test_on_other_images_the_promise_is_within_the_interval():
    met = 0
    for seed in range(200):
        answers, _ = drawn(3000, seed)
        half = np.random.default_rng(seed).permutation(3000) < 1500
        first, second = (
            Ranked(answers.confidence[part], answers.correct[part]) for part in (half, ~half)
        )
        point = check(choose(first, 0.95), second)
        met += point.test_accuracy_ci[1] >= 0.95
    assert met >= 0.93 * 200


def test_the_lowest_threshold_is_chosen_that_keeps_the_promise():
    correct = np.ones(1000, bool)
    correct[600::5] = False
    answers = Ranked(np.linspace(0.999, 0.5, 1000), correct)
    point = choose(answers, 0.95)
    assert point.reached
    assert 0.65 < point.share < 0.8
    assert point.accuracy > 0.95
    assert (answers.confidence >= point.threshold).sum() == round(1000 * point.share)
    assert choose(Ranked(answers.confidence, np.ones(1000, bool)), 0.95).threshold == 0.0


def test_a_target_out_of_reach_comes_with_the_best_that_can_be():
    answers = Ranked(np.linspace(0.999, 0.99, 60), np.ones(60, bool))
    point = choose(answers, 0.99)
    assert not point.reached
    assert 0.9 < point.bound < 0.99
    assert point.bound == pytest.approx(0.05 ** (1 / round(60 * point.share)))


def test_images_of_groups_promise_less():
    rng = np.random.default_rng(0)
    correct = np.repeat(rng.random(60) < 0.985, 20)
    confidence = np.sort(rng.random(1200))[::-1] / 20 + 0.95
    apart = choose(Ranked(confidence, correct), 0.95)
    together = choose(Ranked(confidence, correct, np.arange(1200) // 20), 0.95)
    assert apart.bound > together.bound


def test_equal_confidences_are_not_divided():
    answers = Ranked(np.repeat([1.0, 0.5], [400, 100]), np.repeat([True, False], [400, 100]))
    point = choose(answers, 0.95)
    assert (point.threshold, point.share) == (0.75, 0.8)
    assert [part.share for part in curve(answers)] == [0.8, 1.0]


def test_the_curve_goes_from_the_surest_answers_to_all():
    answers, _ = drawn(500, 1)
    points = curve(answers)
    assert points[-1].share == 1.0
    assert points[-1].accuracy == answers.correct.mean()
    assert points[0].accuracy >= points[-1].accuracy
    assert all(p.accuracy_ci[0] <= p.accuracy <= p.accuracy_ci[1] for p in points)


def test_nothing_beyond_the_threshold_has_no_accuracy():
    answers, _ = drawn(100, 2)
    point = check(choose(Ranked(np.full(400, 1.0), np.ones(400, bool)), 0.95), answers)
    assert point.threshold == 0.0
    low = Ranked(np.full(10, 0.2), np.zeros(10, bool))
    above = low.beyond(0.9)
    assert (above["share"], above["accuracy"]) == (0.0, None)


def test_targets_are_read_as_shares_or_percent():
    assert parse_targets("98%, 95,0.99") == (0.95, 0.98, 0.99)
    assert parse_targets(0.9) == parse_targets([90]) == (0.9,)
    assert parse_targets("") == ()
    for text in ("high", "100%", "0.2", "nan", "-1"):
        with pytest.raises(UsageError):
            parse_targets(text)
