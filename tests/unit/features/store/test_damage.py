"""Damage anywhere in a store is detected or does not matter."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from headstart.core.errors import StoreError
from headstart.features.store import read, verify
from headstart.features.store.seal import Seal, check
from hypothesis import given
from hypothesis import strategies as st

SEAL = 48  # bytes


pytestmark = pytest.mark.usefixtures("no_sandbox")


def refused(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    return message


# Damage anywhere


@pytest.fixture(scope="session")
def sample(tmp_path_factory, build) -> Path:
    path = tmp_path_factory.mktemp("sample") / "s.h5"
    build.run(path, build.listing(3))
    return path


@cache
def survivable(store: Path) -> list[int]:
    """Return the bytes of a store that HDF5 can be trusted to survive a change of.

    Left out is its own bookkeeping of texts: the headers of objects in a global heap, which
    have no checksum and in which HDF5 2.0 loops forever if a size leads into the zeros at the
    heap's end, and the references to these objects, whose length it believes and allocates.
    """
    data = store.read_bytes()
    left_out: set[int] = set()
    heap = data.find(b"GCOL")
    while heap >= 0:
        end = heap + int.from_bytes(data[heap + 8 : heap + 16], "little")
        left_out.update(range(heap, heap + 16))
        at = heap + 16
        while at + 16 <= end:
            left_out.update(range(at, at + 16))
            size = int.from_bytes(data[at + 8 : at + 16], "little")
            if data[at : at + 2] == bytes(2):  # the free space at the end
                break
            at += 16 + -(-size // 8) * 8
        heap = data.find(b"GCOL", end)
    with h5py.File(store) as file:
        for name in ("path", "split"):
            start = file[name].id.get_offset()
            left_out.update(range(start, start + file[name].id.get_storage_size()))
    return [at for at in range(len(data) - SEAL) if at not in left_out]


@pytest.mark.slow
@given(data=st.data())
def test_damage_is_found_or_does_not_matter(tmp_path_factory, sample, data):
    """Without a seal, that is: as in stores of other tools and of older versions."""
    damaged, places = bytearray(sample.read_bytes()[:-SEAL]), survivable(sample)
    # Most bytes are pixels: the others, which come before and after them, get a share too.
    index = st.integers(0, len(places) - 1) | st.integers(0, 6000) | st.integers(-3000, -1)
    for at in data.draw(st.lists(index, min_size=1, max_size=4)):
        damaged[places[at]] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    path.write_bytes(damaged)
    try:
        defects = verify(path)
    except StoreError as error:
        defects = [str(error)]
    assert all(defect.isprintable() for defect in defects)
    if any("has no checksum" not in defect for defect in defects):
        refused(path)
        return
    ours, theirs = read(sample), read(path)
    for name in ("path", "split", "classes", "extraction", "digest", "failures"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("features", "label", "sha256", "pixels"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("name", ["certificate", "run"])
def test_a_record_that_does_not_match_its_checksum_is_refused(tmp_path, sample, name):
    """By readers too, not by `verify` alone."""
    path = tmp_path / "s.h5"
    path.write_bytes(sample.read_bytes()[:-SEAL])
    with h5py.File(path, "r+") as file:
        file.attrs[name] += " "
    assert verify(path) == [f"attribute {name} does not match its checksum"]
    assert f"attribute {name}" in refused(path)


@given(data=st.data())
def test_a_seal_is_broken_by_damage_anywhere(tmp_path_factory, sample, data):
    """In HDF5's bookkeeping too, and HDF5 does not see the file at all."""
    damaged = bytearray(sample.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 41), min_size=1, unique=True)):
        damaged[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "unsealed.h5"
    path.write_bytes(damaged)
    if damaged[-SEAL:-40] == sample.read_bytes()[-SEAL:-40]:
        assert check(path) is Seal.BROKEN
        assert "its seal is broken" in refused(path)
    else:
        assert check(path) is Seal.ABSENT  # of the seal, only its mark tells that it is there
