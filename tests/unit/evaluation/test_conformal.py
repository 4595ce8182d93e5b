"""Conformal sets keep their promise, and are small where the classifier is sure."""

import numpy as np
import pytest
from headstart.core.choices import SETS
from headstart.core.prediction_sets import SetRule, mass_above
from headstart.evaluation.conformal import calibrate, measure


def drawn(n, seed, k=6, sharpness=1.5, flatter=1.0):
    """Codes, and probabilities that are calibrated if ``flatter`` is 1."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, k)) + np.linspace(0, 1, k)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    shown = np.exp(flatter * logits)
    return true, shown / shown.sum(axis=1, keepdims=True)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("flatter", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", SETS)
def test_a_promise_of_95_percent_is_kept_on_average(kind, flatter):
    coverage, sizes = [], []
    for seed in range(100):
        true, probabilities = drawn(800, seed, flatter=flatter)
        rule = calibrate(true[:400], probabilities[:400], 6)
        scores = measure(rule, true[400:], probabilities[400:])[SETS.index(kind)]
        coverage.append(scores.coverage)
        sizes.append(scores.mean_size)
    assert np.mean(coverage) >= 0.945
    assert np.mean(sizes) < 5.5


@pytest.mark.slow
def test_sets_by_class_keep_the_promise_in_every_class():
    covered = np.zeros((100, 6))
    for seed in range(100):
        true, probabilities = drawn(1200, seed)
        sets = calibrate(true[:600], probabilities[:600], 6).sets(probabilities[600:], SETS[1])
        hits = sets[np.arange(600), true[600:]]
        covered[seed] = [hits[true[600:] == code].mean() for code in range(6)]
    assert (covered.mean(axis=0) >= 0.94).all()


def test_images_of_a_group_count_once():
    rng = np.random.default_rng(0)
    coverage = []
    for _ in range(100):  # most images are in few groups that are easy
        hard = rng.random(80) < 0.5
        sizes = np.where(hard, 1, 20)
        group = np.repeat(np.arange(80), sizes)
        sure = np.where(hard, rng.uniform(0.05, 0.6, 80), 0.95)[group]
        probabilities = np.stack([sure, 1 - sure], axis=1)
        rule = calibrate(np.zeros(len(group), int), probabilities, 2, group)
        fresh = np.where(rng.random(2000) < 0.5, rng.uniform(0.05, 0.6, 2000), 0.95)
        sets = rule.sets(np.stack([fresh, 1 - fresh], axis=1), SETS[0])
        coverage.append(sets[:, 0].mean())
    assert np.mean(coverage) >= 0.945


def test_the_most_probable_class_is_always_in_the_set():
    rule = SetRule(0.95, 0.0, (1.0, 1.0, 1.0))
    probabilities = np.array([[0.4, 0.35, 0.25], [0.2, 0.2, 0.6]])
    for kind in SETS:
        assert rule.sets(probabilities, kind).tolist() == [
            [True, False, False],
            [False, False, True],
        ]


def test_an_adaptive_set_grows_until_the_mass_above_is_enough():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0]])
    assert np.allclose(mass_above(probabilities), [[0, 0.5, 0.8], [0.9, 0, 1.0]])
    sets = SetRule(0.95, 0.6, (0, 0, 0)).sets(probabilities, SETS[0])
    assert sets.tolist() == [[True, True, False], [False, True, False]]


def test_a_class_with_few_images_is_in_every_set():
    true, probabilities = drawn(300, 1)
    true = np.where((true == 5) & (np.arange(300) > 60), 4, true)
    assert (true == 5).sum() < 19
    rule = calibrate(true, probabilities, 7)
    assert rule.least[5] == rule.least[6] == 0.0
