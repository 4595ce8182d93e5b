"""The order of images, in memory and by merging runs."""

from __future__ import annotations

import pickle
import random
import re
from collections import Counter

import pytest
from headstart.core.records import SPLITS, ImageRef
from headstart.datasets import image_table, order
from headstart.datasets.image_table import ImageTable, tally, without_labels
from headstart.datasets.order import in_order, natural_key, natural_order
from hypothesis import given
from hypothesis import strategies as st

# Digits, slashes, what keys use as marks, and what is longer in UTF-8 or not in it at all.
names = st.text("ab019/ .-\1\2\3\4\5é\udc80ネ\u0660\U0001f469", min_size=1, max_size=9)
refs = st.builds(ImageRef, names, st.sampled_from(["cat", "dog", None]), st.sampled_from(SPLITS))


def parts(name: str) -> list[str | int]:
    """Return the text and the numbers in a name, which is what its key stands for."""
    found: list[str | int] = [*re.split("([0-9]{1,4000})", name)]
    found[1::2] = map(int, found[1::2])
    return found


@pytest.fixture
def short_runs(monkeypatch):
    monkeypatch.setattr(order, "RUN", 5)
    monkeypatch.setattr(order, "_RUN_BLOCK", 2)
    monkeypatch.setattr(image_table, "BLOCK", 3)


def photos(count: int) -> list[ImageRef]:
    """Return photos of three classes and two splits, not in order."""
    images = [
        ImageRef(f"{split}/c{n % 3}/{n}.jpg", f"c{n % 3}" if n % 5 else None, split)
        for n, split in enumerate(["test", "train"] * (count // 2))
    ]
    return random.Random(0).sample(images, len(images))


@given(st.lists(names, max_size=9))
def test_keys_compare_text_and_numbers(drawn):
    assert natural_order(drawn) == sorted(drawn, key=lambda name: (parts(name), name))


def test_endless_numbers_can_be_ordered():
    numbers = ["9" * 5000, "1" + "0" * 5000, "2"]
    assert sorted(numbers, key=natural_key)[0] == "2"


@given(st.lists(refs, max_size=40, unique_by=lambda ref: ref.path), st.integers(1, 9))
def test_a_long_listing_has_the_order_of_a_short_one(images, run):
    short = in_order(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "RUN", run)
        patch.setattr(order, "_RUN_BLOCK", 2)
        patch.setattr(image_table, "BLOCK", 3)
        assert [*in_order(images)] == [*short]


def test_a_long_listing_is_a_sequence(short_runs):
    images = photos(40)
    table, expected = in_order(images), sorted(images, key=order._image_key)
    assert isinstance(table, ImageTable)
    assert len(table) == 40
    assert [table[n] for n in range(40)] == expected
    assert [table[n] for n in range(-40, 0)] == expected
    assert [*table[7:31:2]] == expected[7:31:2]
    assert [*table[35:99]] == expected[35:]
    assert table[:0] == ()
    for index in (40, -41):
        with pytest.raises(IndexError):
            table[index]
    assert pickle.loads(pickle.dumps(table)) == table


def test_labels_and_splits_are_counted(short_runs):
    images = photos(40)
    table = in_order(images)
    assert tally(table) == Counter((ref.label, ref.split) for ref in images) == tally(images)
    bare = without_labels(table)
    assert [*bare] == [ImageRef(ref.path, None, ref.split) for ref in table]
    assert tally(bare) == {(None, "train"): 20, (None, "test"): 20}


@pytest.mark.parametrize("count", [3, 20])
def test_what_is_listed_again_is_left_out(count, short_runs):
    images = [ImageRef(f"{n}.jpg", "cat", "") for n in range(count)]
    assert [*in_order([*images, *images[::2]])] == images
