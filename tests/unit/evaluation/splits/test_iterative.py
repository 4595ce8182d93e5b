"""Iterative stratification of several labels: `headstart.evaluation.splits.iterative`."""

from __future__ import annotations

import numpy as np
import pytest
from factories import texts
from headstart.core.errors import InputError
from headstart.evaluation.splits import Rules
from headstart.evaluation.splits.iterative import divide, folds, hold_out
from headstart.evaluation.splits.small_labels import check_labels
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Return labels with unknown cells, groups, and a number of parts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    n, k = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    labels = (rng.random((n, k)) < rng.random(k)).astype(np.int8)
    labels[rng.random((n, k)) < 0.1] = -1
    return labels, rng.integers(0, n, n), draw(st.integers(2, 5))


@given(tables())
def test_every_image_is_in_one_part_and_groups_stay_whole(table) -> None:
    labels, groups, parts = table
    part = divide(labels, groups, [1.0] * parts, seed=3)
    assert part.shape == (len(labels),)
    assert part.min() >= 0
    assert part.max() < parts
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1
    np.testing.assert_array_equal(part, divide(labels, groups, [1.0] * parts, seed=3))


@given(tables())
def test_the_rarest_label_is_spread_within_one(table) -> None:
    labels, _, parts = table
    part = divide(labels, None, [1.0] * parts, seed=0)
    sides = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0))
    if not (sides > 0).any():
        return
    rarest = int(np.where(sides > 0, sides, len(labels)).argmin())
    frequent = (labels[:, rarest] == 1).sum() > (labels[:, rarest] == 0).sum()
    marked = labels[:, rarest] == (0 if frequent else 1)
    counts = np.bincount(part[marked], minlength=parts)
    assert counts.max() - counts.min() <= 1


@given(st.integers(0, 2**16), st.integers(2, 6))
def test_labels_that_exclude_each_other_are_all_spread_within_one(seed: int, parts: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 5, 80)
    part = divide((codes[:, None] == np.arange(5)).astype(np.int8), None, [1.0] * parts, seed)
    for code in range(5):
        counts = np.bincount(part[codes == code], minlength=parts)
        assert counts.max() - counts.min() <= 1


def test_overlapping_labels_are_spread_more_evenly_than_by_chance() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((600, 20)) < np.geomspace(0.01, 0.4, 20)).astype(np.int8)

    def unevenness(part: np.ndarray) -> float:
        counts = np.stack([labels[part == i].sum(axis=0) for i in range(5)])
        return float((counts.max(axis=0) - counts.min(axis=0)).mean())

    ours = unevenness(divide(labels, None, [1.0] * 5, 0))
    assert ours < 2.5
    assert ours < unevenness(rng.permutation(600) % 5) / 3


def test_a_hold_out_takes_its_share_of_every_label_and_leaves_two_of_a_rare_one() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((1000, 8)) < 0.3).astype(np.int8)
    labels[:, 0] = 0
    labels[:3, 0] = 1
    test = hold_out(labels, None, 0.2, seed=0)
    assert abs(test.sum() - 200) <= 20
    shares = labels[test].sum(axis=0) / labels.sum(axis=0)
    assert np.abs(shares[1:] - 0.2).max() < 0.03
    assert labels[test, 0].sum() == 1


def test_repeats_are_other_folds_of_the_same_quality() -> None:
    labels = (np.random.default_rng(2).random((50, 3)) < 0.3).astype(np.int8)
    first, second = folds(labels, None, 5, seed=7, repeats=2)
    assert (first != second).any()
    np.testing.assert_array_equal(first, folds(labels, None, 5, seed=7)[0])
    assert set(second) == set(range(5))


NAMES = ["rare", "common", "never", "always", "unknown", "single"]


def table_of_rare_labels() -> np.ndarray:
    labels = np.zeros((30, 6), np.int8)
    labels[:3, 0] = 1
    labels[::2, 1] = 1
    labels[:, 3] = 1
    labels[:, 4] = -1
    labels[0, 5] = 1
    return labels


def test_a_rare_label_reduces_the_folds_and_a_constant_one_is_left_out() -> None:
    allowed = check_labels(table_of_rare_labels(), None, NAMES, Rules(folds=5))
    assert allowed.folds == 3
    np.testing.assert_array_equal(allowed.kept, [True, True, False, False, False, False])
    text = " ".join(texts(allowed.warnings))
    assert all(name in text for name in ("rare", "never", "always", "unknown", "single"))


def test_the_rule_drops_a_rare_label_or_refuses_it() -> None:
    dropped = check_labels(table_of_rare_labels(), None, NAMES, Rules(small_classes="drop"))
    assert dropped.folds == 5
    np.testing.assert_array_equal(np.flatnonzero(dropped.kept), [1])
    with pytest.raises(InputError, match="rare"):
        check_labels(table_of_rare_labels(), None, NAMES, Rules(small_classes="error"))


def test_a_label_in_one_group_counts_once() -> None:
    labels = table_of_rare_labels()[:, :2]
    groups = np.arange(30)
    groups[:3] = 0
    allowed = check_labels(labels, groups, NAMES[:2], Rules())
    np.testing.assert_array_equal(allowed.kept, [False, True])
    with pytest.raises(InputError, match="no label"):
        check_labels(labels[:, :1], groups, NAMES[:1], Rules())
