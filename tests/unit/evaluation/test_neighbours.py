"""Neighbours in tiles are those of all pairs."""

import numpy as np
import pytest
from headstart.evaluation import neighbours


@pytest.mark.parametrize("n", [1, 2, 16, 17, 95, 200])
@pytest.mark.parametrize("least", [-1.0, 0.9])
def test_tiles_find_what_all_products_show(n, least, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(12, 6))[rng.integers(12, size=n)] + 0.3 * rng.normal(size=(n, 6))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    products = rows @ rows.T
    np.fill_diagonal(products, -np.inf)
    expected = {
        (min(row, int(other)), max(row, int(other)))
        for row in range(n)
        for other in np.argsort(-products[row], kind="stable")[: min(3, n - 1)]
        if products[row, other] >= least
    }
    pairs = neighbours.nearest(rows, 3, least)
    assert pairs.shape == (len(expected), 2)
    assert set(map(tuple, pairs.tolist())) == expected
    assert pairs.tolist() == sorted(pairs.tolist())


def test_many_equal_rows_have_as_many_neighbours_as_any(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    pairs = neighbours.nearest(np.ones((100, 1), np.float32), 3)
    assert np.bincount(pairs.ravel(), minlength=100).min() >= 3
    assert len(pairs) <= 300


def test_rows_of_zeros_have_no_close_neighbours():
    assert len(neighbours.nearest(np.zeros((50, 4), np.float32), 3, 0.5)) == 0
