from __future__ import annotations

import numpy as np
import pytest
from headstart.report.projection import project


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


def test_the_first_axes_alone():
    rows = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    points = project(rows, method="pca")
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    expected = centred @ axes.T
    for axis in range(2):
        assert abs(np.corrcoef(points[:, axis], expected[:, axis])[0, 1]) > 0.9999


@pytest.mark.long
def test_umap_keeps_groups_together_and_repeats():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rng = np.random.default_rng(6)
    label = np.repeat(np.arange(3), 30)
    rows = (rng.normal(size=(3, 16))[label] * 4 + rng.normal(size=(90, 16))).astype(np.float32)
    points = project(rows, method="umap")
    assert np.array_equal(points, project(rows, method="umap"))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (label[distance.argmin(axis=1)] == label).mean() > 0.95
