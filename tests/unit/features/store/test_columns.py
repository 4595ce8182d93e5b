"""The table of columns: a new one is an entry there, and stores without it are still read."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
from headstart.features.store import columns, read, verify
from headstart.features.store.columns import Column
from headstart.features.store.recovery import recover


@pytest.fixture
def sharper(monkeypatch):
    """Add a column that is computed from the image, as version 4 of the format."""
    extra = Column("sharpness", ("f4",), default=-1, of_image=np.std, since=4)
    monkeypatch.setattr(columns, "TABLE", (*columns.TABLE, extra))
    monkeypatch.setattr("headstart.features.store.layout.VERSION", 4)


@pytest.fixture
def sharp(build, monkeypatch):
    """Let records have the new value."""
    record = type(build).record

    def with_sharpness(self, content, key=bytes(16)):
        plain = record(self, content, key)
        return plain._replace(values={**plain.values, "sharpness": np.float32(content)})

    monkeypatch.setattr(type(build), "record", with_sharpness)
    return build


def values(path) -> list[float]:
    with h5py.File(path) as file:
        return file["sharpness"][:].tolist()


def test_a_column_is_an_entry_of_the_table(tmp_path, sharper, sharp):
    path, images = tmp_path / "s.h5", sharp.listing()
    sharp.run(path, images, stop_after=3)
    sharp.run(path, images)
    assert values(path) == list(range(6))
    assert verify(path) == []
    with h5py.File(path) as file:
        assert (file.attrs["version"], file["checks"].shape) == (4, (6, 10))


@pytest.mark.slow
def test_a_store_of_the_version_before_is_read_and_continued(store, sharper, sharp):
    assert verify(store) == []
    assert len(read(store)) == 6
    assert sharp.run(store, sharp.listing(8)).embedded == 2
    assert values(store) == [-1] * 6 + [6, 7]
    assert verify(store) == []


def test_damage_in_it_costs_its_row_alone(tmp_path, sharper, sharp):
    path, out = tmp_path / "s.h5", tmp_path / "out.h5"
    sharp.run(path, sharp.listing())
    with h5py.File(path, "r+") as file:
        file["sharpness"][2] = 7
    assert recover(path, out)["kept"] == 5
    assert values(out) == [0, 1, 3, 4, 5]
    assert verify(out) == []


def test_every_column_says_where_its_values_come_from():
    assert len({column.name for column in columns.TABLE}) == len(columns.TABLE)
    for column in columns.TABLE:
        assert not (column.of_row and column.of_image), dataclasses.asdict(column)
        if column.default is not None:
            assert column.unknown(3).shape[0] == 3
