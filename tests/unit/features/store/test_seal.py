from __future__ import annotations

import os
import shutil

import h5py
import pytest
from headstart.core.errors import StoreError
from headstart.features.store import read
from headstart.features.store.opening import seal_of
from headstart.features.store.seal import Seal, check, seal


@pytest.mark.parametrize("content", [b"", b"x", bytes(48), bytes(3_000_000)])
def test_any_file_can_be_sealed(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    assert check(path) is Seal.ABSENT
    seal(path)
    assert check(path) is Seal.WHOLE
    assert path.read_bytes().startswith(content)
    sealed = path.read_bytes()
    for at in {0, len(content), len(content) + 8, len(sealed) - 1}:
        damaged = bytearray(sealed)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        expected = Seal.ABSENT if at == len(content) else Seal.BROKEN
        assert check(path) is expected, at
    path.write_bytes(b"y" + sealed)  # longer than it was
    assert check(path) is Seal.BROKEN


@pytest.mark.slow
def test_other_tools_read_a_sealed_store_and_cut_the_seal_when_they_write(store, build):
    assert seal_of(store) is Seal.WHOLE
    with h5py.File(store) as file:
        assert len(file["path"]) == 6
    assert seal_of(store) is Seal.WHOLE
    with h5py.File(store, "r+") as file:
        file.attrs["note"] = "mine"
    assert seal_of(store) is Seal.ABSENT
    assert build.matches(read(store), build.listing())


@pytest.mark.slow
def test_an_updated_store_is_sealed_again(store, build):
    os.truncate(store, store.stat().st_size - 48)
    assert seal_of(store) is Seal.ABSENT
    build.run(store, build.listing(7))
    assert seal_of(store) is Seal.WHOLE


def test_what_is_no_file_has_no_seal(store, tmp_path):
    with pytest.raises(StoreError, match="no feature store at"):
        seal_of(tmp_path / "none.h5")
    shutil.move(store, tmp_path / "moved")
    os.mkfifo(store)
    with pytest.raises(StoreError, match="no feature store at"):
        seal_of(store)
