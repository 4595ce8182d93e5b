"""Folds of groups: those of scikit-learn's splitter."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.heads.folds import MANY_GROUPS, stratified_folds
from sklearn.model_selection import StratifiedGroupKFold


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 5, 23])
@pytest.mark.parametrize("images_a_group", [1.01, 2.0, 5.0])
@pytest.mark.parametrize("folds", [2, 5])
def test_folds_of_groups_are_those_of_scikit_learn(classes, images_a_group, folds):
    rng = np.random.default_rng([classes, folds])
    labels = 3 * np.sort(rng.permutation(np.arange(300) % classes)) + 1
    group = rng.integers(0, round(300 / images_a_group), 300)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=7)
    expected = np.empty(300, int)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
        expected[held_out] = number
    assert np.array_equal(stratified_folds(labels, folds, 7, group), expected)


def test_very_many_groups_follow_their_first_image(monkeypatch):
    monkeypatch.setattr("headstart.heads.folds.MANY_GROUPS", 50)
    assert MANY_GROUPS > 50
    labels, group = np.arange(200) % 4, np.arange(200) // 2
    fold = stratified_folds(labels, 5, 0, group)
    assert np.array_equal(fold[::2], fold[1::2])
    assert np.array_equal(fold[::2], stratified_folds(labels[::2], 5, 0))
