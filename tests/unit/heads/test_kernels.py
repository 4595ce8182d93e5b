"""Kernel values and inverses that the families share."""

from __future__ import annotations

import numpy as np
import pytest
from factories import training_set
from headstart.heads import kernels
from headstart.heads.kernel_ridge import KernelRidgeHead
from sklearn.metrics.pairwise import rbf_kernel


@pytest.mark.parametrize("shared", [True, False])
def test_kernel_values_are_those_of_scikit_learn(shared, monkeypatch):
    if not shared:
        monkeypatch.setattr(kernels, "MAX_SHARED_ROWS", 10)
    data = training_set(n=150)
    left, right = np.arange(7, 120), np.arange(0, 150, 3)
    kernels.prepare(data, 2.0)
    assert ("squared_distances" in vars(data)) == shared
    expected = rbf_kernel(data.rows[left].astype(float), data.rows[right].astype(float), 2.0)
    assert np.allclose(kernels.kernel_of(data, left, right, 2.0), expected, atol=3e-6)
    products = data.rows[left] @ data.rows[right].T
    assert np.allclose(kernels.kernel_of(data, left, right, None), products, atol=1e-6)


@pytest.mark.slow
def test_a_longer_grid_scores_only_what_is_new():
    data = training_set(spread=2.5)
    family = KernelRidgeHead(grid={"alpha": (1e-1, 1e-2, 1e-3), "gamma": (0.1, 0.2)})
    first, further = family.search(data), family.search_further(data)
    tried = [tuple(each["params"].values()) for each in further.grid]
    assert len(tried) > len(first.grid)
    assert len(set(tried)) == len(tried)
    assert tried[: len(first.grid)] == [tuple(each["params"].values()) for each in first.grid]
    assert further.cv_accuracy >= first.cv_accuracy - 0.02
