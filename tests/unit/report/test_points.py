"""Points of the reliability diagram and the learning curve."""

from __future__ import annotations

import pytest
from headstart.core.proportions import wilson
from headstart.report import points


def test_small_bins_are_merged_and_have_wilsons_interval():
    bins = {
        "images": [1, 0, 3, 6, 90, 2],
        "confidence": [0.1, None, 0.4, 0.5, 0.9, 1.0],
        "accuracy": [0.0, None, 1.0, 0.5, 0.9, 1.0],
    }
    merged = points.reliability(bins)
    assert sum(point.images for point in merged) == 102
    assert all(point.images >= points.FEWEST for point in merged)
    (only,) = points.reliability({"images": [2], "confidence": [0.9], "accuracy": [0.5]})
    assert (only.low, only.high) == wilson(0.5, 2)
    assert points.reliability({"images": [0], "confidence": [None], "accuracy": [None]}) == []


def test_the_band_joins_the_measured_interval_and_that_of_the_forecast():
    curve = {
        "points": [{"images": 100.0, "accuracy": 0.8, "accuracy_ci": [0.7, 0.85]}],
        "fit": {"ceiling": 0.95, "scale": 1.0, "exponent": 0.4},
        "doubling": {"images": 400, "accuracy": 0.86, "accuracy_ci": [0.8, 0.9]},
    }
    band = points.forecast(curve)
    assert (band[0].low, band[0].high) == pytest.approx((0.7, 0.85))
    assert (band[-1].x, band[-1].low, band[-1].high) == pytest.approx((400, 0.8, 0.9))
    assert points.forecast(curve | {"doubling": None}) == []
