"""The nearest training images: which, of which store, and their pictures."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from headstart.backbones.inference.runner import Runner
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed
from headstart.models.serve.neighbours import TrainingImages, find


@pytest.fixture(scope="module")
def data(training):
    return store.read(training)


def test_they_are_those_of_the_largest_cosine(data):
    training = TrainingImages(data)
    kept = [row for row, split in enumerate(data.split) if split == "train"]
    unit = data.features / np.linalg.norm(data.features, axis=1, keepdims=True)
    for row in range(len(unit)):
        expected = sorted(kept, key=lambda other: -float(unit[row] @ unit[other]))
        found = training.nearest(data.features[row] * 3, 4)
        assert [one.row for one in found] == expected[:4]
        assert [one.path for one in found] == [data.path[row] for row in expected[:4]]
        distances = [1 - float(unit[row] @ unit[other]) for other in expected[:4]]
        assert [one.distance for one in found] == pytest.approx(distances, abs=1e-5)


def test_more_than_there_are(data):
    assert len(TrainingImages(data).nearest(data.features[0], 50)) == 9


def test_what_was_held_out_is_left_out(data):
    held_out = [path for path, split in zip(data.path, data.split, strict=True) if split][-4:]
    found = TrainingImages(data, held_out).nearest(data.features[0], 50)
    assert not {one.path for one in found} & set(held_out)


def test_the_example_of_a_class_is_its_most_typical_training_image(data):
    training = TrainingImages(data)
    assert set(training.examples()) == {data.classes[c] for c in data.label if c >= 0}
    for name, row in training.examples().items():
        assert row in training
        rows = [r for r in range(len(data.path)) if r in training]
        own = np.array([r for r in rows if data.classes[data.label[r]] == name])
        unit = data.features[own] / np.linalg.norm(data.features[own], axis=1, keepdims=True)
        assert row == own[np.argmax(unit @ unit.mean(axis=0))]


def test_a_file_that_has_moved_leaves_the_miniature(tmp_path, photos, tiny_backbone):
    shutil.copytree(photos, tmp_path / "photos")
    embed(str(tmp_path / "photos"), tmp_path / "s.h5", EmbedConfig(str(tiny_backbone)))
    training = TrainingImages(store.read(tmp_path / "s.h5"))
    row = training.nearest(np.ones(12, np.float32), 1)[0].row
    before = training.picture(row)
    shutil.rmtree(tmp_path / "photos")
    after = training.picture(row)
    assert before is not None
    assert after is not None
    assert before != after
    bare = dataclasses.replace(store.read(tmp_path / "s.h5"), pixels=None)
    assert TrainingImages(bare).picture(row) is None


class TestFind:
    def test_the_store_of_the_same_network(self, training, tiny_backbone, tmp_path):
        backbone = Runner(tiny_backbone).backbone
        found, why = find(backbone, [tmp_path / "gone.h5", training])
        assert (len(found), why) == (9, "")
        half = dataclasses.replace(backbone, precision="fp16")
        assert find(half, [training])[0] is not None

    @pytest.mark.slow
    def test_why_there_is_none(self, training, tiny_backbone, tmp_path):
        backbone = Runner(tiny_backbone).backbone
        assert find(backbone, [])[1].endswith("name it with --store")
        other = dataclasses.replace(backbone, layer="other")
        assert find(other, [training])[1].endswith("different backbone")
        (tmp_path / "bad.h5").write_bytes(b"bad")
        assert "bad.h5" in find(backbone, [tmp_path / "bad.h5"])[1]
