"""The calibration error beyond chance: none for calibrated probabilities, the whole for others."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation import metrics


def forecasts(n, seed, excess=0.0):
    """Return answers whose confidence exceeds their accuracy by ``excess``."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.6, 0.95, n)
    return rng.random(n) < confidence - excess, confidence


def test_chance_is_the_error_of_calibrated_probabilities():
    found = [metrics.calibration(*forecasts(100, seed), seed) for seed in range(40)]
    raw = [metrics.expected_calibration_error(*forecasts(100, seed)) for seed in range(40)]
    root_mean_square = np.sqrt(np.mean(np.square(raw)))
    assert np.mean([each.chance for each in found]) == pytest.approx(root_mean_square, rel=0.15)
    assert np.median([each.error for each in found]) < 0.04
    assert sum(each.interval[0] == 0 for each in found) >= 36


@pytest.mark.parametrize("n", [100, 400])
def test_the_interval_covers_the_true_error(n):
    found = [metrics.calibration(*forecasts(n, seed, 0.15), seed) for seed in range(60)]
    assert np.mean([each.interval[0] <= 0.15 <= each.interval[1] for each in found]) >= 0.9
    assert np.mean([each.error for each in found]) == pytest.approx(0.15, abs=0.03)


def test_images_without_an_error_leave_room_for_one():
    found = metrics.calibration(np.ones(50, bool), np.full(50, 0.999), 0)
    assert found.error < 0.01
    assert 0.02 < found.interval[1] < 0.1
    assert found.interval[0] == 0
