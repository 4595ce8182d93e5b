"""Stores of images with several labels: a column of version 2, which single-label stores lack."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from headstart.core.targets import MULTI_LABEL
from headstart.features.store import read, verify
from headstart.features.store.recovery import recover

SETS = np.array([[1, 0, 1], [0, 0, 0], [-1, 1, 0], [-1, -1, -1]], np.int8)


NAMES = ("a", "b", "c")


def listing(build, sets=SETS):
    """Return four images with these labels."""
    return [
        image._replace(label=-1, labels=row.tobytes())
        for image, row in zip(build.listing(4), sets, strict=True)
    ]


def run(build, path, sets=SETS):
    return build.run(path, listing(build, sets), classes=NAMES, target=MULTI_LABEL)


@pytest.fixture
def several(tmp_path, build):
    """Give a store of four images with several labels."""
    path = tmp_path / "several.h5"
    run(build, path)
    return path


def test_labels_come_back(several):
    data = read(several)
    assert data.target == MULTI_LABEL
    assert np.array_equal(data.label_sets, SETS)
    assert (data.label == -1).all()
    assert data.labels == [("a", "c"), (), ("b",), None]
    assert verify(several) == []


def test_only_such_stores_are_of_version_2(several, store):
    for path, version in ((several, 2), (store, 1)):
        with h5py.File(path) as file:
            assert file.attrs["version"] == version
            assert ("labels" in file) == (version == 2)


def test_a_changed_label_is_written(several, build):
    assert not run(build, several).published
    changed = SETS.copy()
    changed[0] = [0, 1, 0]
    assert run(build, several, changed).published
    assert read(several).labels[0] == ("b",)


def test_damage_costs_its_row_alone(several, tmp_path):
    out = tmp_path / "out.h5"
    with h5py.File(several, "r+") as file:
        file["labels"][1, 0] = 1
    assert recover(several, out)["kept"] == 3
    assert np.array_equal(read(out).label_sets, SETS[[0, 2, 3]])


@pytest.mark.slow
def test_values_that_are_no_states_are_defects(several):
    with h5py.File(several, "r+") as file:
        file["labels"][1, 0] = 7
    assert any("label" in defect for defect in verify(several))
