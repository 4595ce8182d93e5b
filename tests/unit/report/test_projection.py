from __future__ import annotations

import numpy as np
import pytest
from headstart.report import tsne
from headstart.report.projection import project
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors


@pytest.mark.slow
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


@pytest.mark.slow
def test_many_rows_have_their_neighbours_beside_them_as_often_as_scikit_learn_has():
    """Groups on two curves, so that neighbours are known; some rows stand twice."""
    rng = np.random.default_rng(4)
    group, place = np.repeat(np.arange(6), 200), rng.uniform(0, 3, 1200)
    place[1:1200:100] = place[:1200:100]
    centres = 3 * rng.normal(size=(6, 20))
    curve = np.stack([np.cos(place), np.sin(place)], axis=1)
    rows = (centres[group] + curve @ rng.normal(size=(2, 20))).astype(np.float32)
    points = project(rows)
    assert (project(rows) == points).all()
    stock = TSNE(init="pca", random_state=0, max_iter=300).fit_transform(rows)
    assert trustworthiness(rows, points) > trustworthiness(rows, stock) - 0.005
    nearest = NearestNeighbors(n_neighbors=1).fit(points).kneighbors()[1][:, 0]
    assert (group[nearest] == group).mean() > 0.99


@pytest.mark.slow
def test_the_repulsion_is_that_of_all_pairs():
    places = np.random.default_rng(0).normal(scale=8, size=(1500, 2)).astype(np.float32)
    apart = places[:, None].astype(np.float64) - places[None]
    near = 1 / (1 + (apart**2).sum(axis=2))
    np.fill_diagonal(near, 0)
    force = (near[:, :, None] ** 2 * apart).sum(axis=1) / near.sum()
    error = np.linalg.norm(tsne._repulsion(places) - force, axis=1)
    assert error.mean() < 0.08 * np.linalg.norm(force, axis=1).mean()


def test_shares_have_the_perplexity_that_is_asked_for():
    squares = np.sort(np.random.default_rng(0).gamma(2, size=(50, 60)) ** 4, axis=1)
    shares = tsne._shares(squares, 20.0)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
    assert np.exp(entropy) == pytest.approx(20, rel=1e-4)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("rows", [np.zeros((1200, 4)), np.repeat(np.eye(4), 300, axis=0)])
def test_many_equal_rows_have_finite_places(rows):
    assert np.isfinite(project(rows.astype(np.float32))).all()


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
