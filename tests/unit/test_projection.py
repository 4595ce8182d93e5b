from __future__ import annotations

import numpy as np
import pytest

from pipeline.projection import project


def test_groups_stay_apart_and_the_same_rows_give_the_same_points():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 20))
    group = np.repeat(np.arange(3), 30)
    rows = (centres[group] + rng.normal(scale=0.1, size=(90, 20))).astype(np.float32)
    points = project(rows)
    assert points.shape == (90, 2)
    assert np.abs(points).max() == pytest.approx(1)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).all()
    assert (project(rows) == points).all()


@pytest.mark.parametrize("rows", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((20, 4))])
def test_what_has_no_extent_lies_at_the_origin(rows):
    assert (project(rows.astype(np.float32)) == 0).all()


@pytest.mark.parametrize("shape", [(2, 5), (5, 1), (9, 1), (40, 2)])
def test_any_few_rows_have_finite_places(shape):
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    points = project(rows)
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()
