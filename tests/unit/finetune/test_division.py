"""Which images train, validate and test."""

from __future__ import annotations

import numpy as np
import pytest
from factories import feature_set
from headstart.core.errors import InputError
from headstart.finetune.division import divide


def test_without_a_validation_split_a_stratified_one_is_drawn():
    data = feature_set(n=60, k=2)
    division = divide(data, seed=0)
    assert division.drawn
    assert "validation split" in division.remarks[-1].text
    assert np.unique(data.label[division.validation]).tolist() == [0, 1]
    parts = [*division.train, *division.validation, *division.test]
    assert sorted(parts) == list(range(60))
    named = division.named(data)
    rows = (division.train, division.validation, division.test)
    for name, part in zip(("train", "validation", "test"), rows, strict=True):
        assert {named.split[row] for row in part} == {name}


def test_the_datas_own_validation_split_is_kept():
    data = feature_set(n=60, k=2, split=(["train"] * 4 + ["validation", "test"]) * 10)
    division = divide(data, seed=0)
    assert not division.drawn
    assert {data.split[row] for row in division.validation} == {"validation"}
    assert {data.split[row] for row in division.test} == {"test"}


def test_images_outside_the_division_lose_their_label():
    data = feature_set(np.r_[np.arange(60) % 2, -1], k=2)
    named = divide(data, seed=0).named(data)
    assert named.split[-1] == ""
    assert named.label[-1] == -1


def test_a_class_without_training_images_is_refused():
    split = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    label = np.r_[np.zeros(20), np.ones(10), np.arange(10) % 2].astype(int)
    with pytest.raises(InputError, match="validation split"):
        divide(feature_set(label, k=2, split=split), seed=0)


def test_too_few_images_of_a_class_are_refused():
    with pytest.raises(InputError):
        divide(feature_set([0, 1], k=2), seed=0)


def groups_of(data, size=5):
    """Group the images of each class by ``size``."""
    places = [int((data.label[:row] == data.label[row]).sum()) for row in range(len(data.path))]
    pairs = zip(data.path, data.label, places, strict=True)
    return {path: f"{label}-{place // size}" for path, label, place in pairs}


def parts_of(data, division, named):
    """Return, for each group, the parts of the division that have images of it."""
    parts = {}
    for part in ("train", "validation", "test"):
        for row in getattr(division, part):
            parts.setdefault(named[data.path[row]], set()).add(part)
    return parts


def test_a_group_stays_on_one_side_of_every_split():
    data = feature_set(n=120, k=2)
    named = groups_of(data)
    parts = parts_of(data, divide(data, 0, named), named)
    assert len(parts) == 24
    assert all(len(sides) == 1 for sides in parts.values())
    assert {side for sides in parts.values() for side in sides} == {"train", "validation", "test"}
    alone = parts_of(data, divide(data, 0), named)
    assert any(len(sides) > 1 for sides in alone.values())


def test_ungrouped_images_are_counted_and_groups_of_other_images_refused():
    data = feature_set(n=60, k=2)
    named = groups_of(data)
    del named[data.path[7]]
    division = divide(data, 0, named)
    assert any(
        remark.text.startswith("1 of 60 images are in no group") for remark in division.remarks
    )
    with pytest.raises(InputError, match="none of the images"):
        divide(data, 0, {"elsewhere.jpg": "a"})


def test_groups_across_the_datas_own_splits_are_kept_there_with_a_remark():
    data = feature_set(n=60, k=2, split=(["train"] * 4 + ["validation", "test"]) * 10)
    named = groups_of(data)
    division = divide(data, 0, named)
    assert {data.split[row] for row in division.test} == {"test"}
    assert any("groups" in remark.text for remark in division.remarks)
