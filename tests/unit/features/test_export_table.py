"""The map of a table: principal components by one reading of the store."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from headstart.features import export_table
from headstart.features.export_table import _principal_axes


class Block(NamedTuple):
    features: np.ndarray


class Source:
    """Rows in blocks, which are counted as they are read."""

    def __init__(self, features: np.ndarray) -> None:
        self.features, self.read = features.astype(np.float32), 0
        self.rows, self.dim = features.shape

    def blocks(self):
        for start in range(0, self.rows, 64):
            self.read += 1
            yield Block(self.features[start : start + 64])


def reference(features: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)[2][:2].T


def rows(count: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, dim)) / np.arange(1, dim + 1) + 0.1


@pytest.mark.parametrize(("exact", "precision"), [(2048, 1e-6), (48, 1e-3)])
@pytest.mark.parametrize("count", [30, 500])
def test_the_axes_are_the_principal_ones(monkeypatch, exact, precision, count):
    monkeypatch.setattr(export_table, "_EXACT", exact)
    source = Source(rows(count, 100))
    mean, axes = _principal_axes(source)
    cosines = np.abs((axes * reference(source.features)).sum(axis=0))
    assert (cosines > 1 - precision).all()
    assert np.allclose(np.linalg.norm(axes, axis=0), 1)
    assert source.read == -(-count // 64)  # once
    assert mean.shape == (100,)


@pytest.mark.parametrize("exact", [2048, 2])
@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (5, 4)])
def test_rows_without_directions_have_a_map(monkeypatch, exact, shape):
    monkeypatch.setattr(export_table, "_EXACT", exact)
    mean, axes = _principal_axes(Source(np.ones(shape)))
    assert axes.shape == (shape[1], 2)
    assert np.isfinite(axes).all()
    assert np.isfinite(mean).all()
