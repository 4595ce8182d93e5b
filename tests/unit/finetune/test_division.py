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
