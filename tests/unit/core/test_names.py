"""Rows joined by names."""

import numpy as np
import pytest
from headstart.core.names import join, repeated


@pytest.mark.parametrize(
    ("left", "right", "rule"),
    [
        (["a/1.jpg", "b/1.jpg"], ["b/1.jpg", "a/1.jpg"], "path"),
        (["a/1.jpg", "b/1.jpg"], ["/d/b/1.jpg", "/d/a/1.jpg"], "folder and file name"),
        (["a/1.jpg", "b/2.jpg"], ["C:\\x\\2.jpg", "C:\\x\\1.jpg"], "file name"),
        (["a/1.jpg", "b/2.jpg"], ["2", "1"], "file name without extension"),
        (["TCGA-1.2f", "lot.5"], ["TCGA-1.2f.svs", "lot.5.svs"], "path without extension"),
    ],
)
def test_names_join_by_the_strictest_rule_that_joins_most(left, right, rule):
    shared = join([left, right])
    assert shared.rule == rule
    assert len(shared.rows[0]) == 2
    assert np.array_equal(shared.rows[0], [0, 1])


def test_a_rule_that_confuses_names_of_one_table_is_passed_over():
    assert not join([["a/1.jpg", "b/1.jpg"], ["1.jpg"]]).rule
    assert not join([["a"], ["b"]]).rule
    assert join([["a/1.jpg", "a/2.jpg"], ["x/2.jpg", "x/3.jpg"]]).rows[0].tolist() == [1]


def test_repeated_names_are_listed():
    assert repeated(["a", "b", "a"]) == ["a"]
