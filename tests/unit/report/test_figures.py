"""Axes and scores that the page derives from counts."""

from __future__ import annotations

import pytest
from headstart.report import figures
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_axis_holds_its_values_with_few_round_ticks(values: list[float]):
    axis = figures.axis(values)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert (axis.low, axis.high) == pytest.approx((axis.ticks[0], axis.ticks[-1]))
    assert 2 <= len(axis.ticks) <= 6
    assert all(0 <= tick <= 1.0001 for tick in axis.ticks)
    assert all(5 <= float(axis.position(value)[:-1]) <= 95 for value in values)


@given(st.data())
def test_class_scores_agree_with_each_other(data: st.DataObject):
    k = data.draw(st.integers(1, 5))
    row = st.lists(st.integers(0, 9), min_size=k, max_size=k)
    confusion = data.draw(st.lists(row, min_size=k, max_size=k))
    found = figures.cells(confusion)
    counts = [[i, j, n] for i, line in enumerate(confusion) for j, n in enumerate(line)]
    assert figures.cells({"shape": [k, k], "cells": counts}) == found
    scores = figures.class_scores([str(i) for i in range(k)], found)
    assert sum(score.support for score in scores) == sum(map(sum, confusion))
    for i, score in enumerate(scores):
        assert (score.recall is None) == (score.support == 0)
        assert (score.precision is None) == (not any(line[i] for line in confusion))
        if score.precision and score.recall:
            mean = 2 / (1 / score.precision + 1 / score.recall)
            assert score.f1 == pytest.approx(mean)
