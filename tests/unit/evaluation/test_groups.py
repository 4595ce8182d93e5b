"""Partitions: the same as a union-find over every pair, written out."""

from __future__ import annotations

import numpy as np
from headstart.evaluation import groups
from hypothesis import given
from hypothesis import strategies as st


def joined_by_pairs(*partitions):
    """Join literally: give two images one number until no partition asks for more."""
    numbers = list(range(len(partitions[0])))
    changed = True
    while changed:
        changed = False
        for partition in partitions:
            for i, a in enumerate(partition):
                for j, b in enumerate(partition):
                    if a == b and numbers[i] != numbers[j]:
                        numbers[i] = numbers[j] = min(numbers[i], numbers[j])
                        changed = True
    order = list(dict.fromkeys(numbers))
    return [order.index(number) for number in numbers]


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(0, 5), min_size=n, max_size=n), min_size=1, max_size=3
        )
    )
)
def test_join_is_the_finest_partition_that_holds_all(partitions):
    found = groups.join(*(np.array(partition, np.intp) for partition in partitions))
    assert found.tolist() == joined_by_pairs(*partitions)


def test_copies_belong_together():
    sha256 = np.zeros((4, 32), np.uint8)
    sha256[[1, 3], 31] = 7
    found = groups.by_content(sha256)
    assert found[0] == found[2] != found[1] == found[3]
    assert groups.sizes(found).tolist() == [2, 2, 2, 2]


def test_images_without_a_group_stay_alone():
    found = groups.by_name(["a", "b", "c", "d", "e"], {"a": "x", "c": "x", "d": "y", "no": "x"})
    assert groups.join(found).tolist() == [0, 1, 0, 2, 3]
    assert groups.sizes(found).tolist() == [2, 1, 2, 1, 1]
    assert groups.join(groups.by_name(["a", "b"], {})).tolist() == [0, 1]
