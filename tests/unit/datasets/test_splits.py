"""The names of splits."""

from __future__ import annotations

import pytest
from headstart.datasets.splits import of_siblings, split_of
from headstart.datasets.webdataset import split_of as split_of_shard

MEANINGS = {
    "train": "train Train TRAINING training_set TrainSet trainset seg_train train_data imgs_train "
    "train1 train2017 01_train train-images trainval train_val train.set",
    "validation": "val Valid validation VALIDATE dev eval Evaluation val_set imgs_val devset",
    "test": "test Tests testing test_set testset holdout Hold-Out held_out test_images seg_test",
    "": "cat tray contest latest attest testament trained_cat test_tube trainA set images 1 7_8 "
    "train_test Übung",
}


@pytest.mark.parametrize("split", MEANINGS)
def test_names_mean_splits(split):
    assert {split_of(name) for name in MEANINGS[split].split()} == {split}
    assert {split_of(f" {name} ") for name in MEANINGS[split].split()} == {split}


def test_siblings_tell_what_their_names_share():
    assert of_siblings(["sky_train", "sky_test"]) == {"sky_train": "train", "sky_test": "test"}
    assert of_siblings(["sky_train", "sea_test"]) == {}
    assert of_siblings(["train", "sky"]) == {"train": "train"}


def test_shards_tell_their_split():
    names = {
        "imagenet-train-000001.tar": "train",
        "val/7.tar": "validation",
        "seg_test.zip": "test",
    }
    assert {name: split_of_shard(name, several=True) for name in names} == names
    assert split_of_shard("beer-test.zip") == ""
