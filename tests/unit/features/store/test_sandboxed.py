"""Damaged files end a child process, not this one."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import pytest
from headstart.core import sandbox
from headstart.core.errors import StoreError
from headstart.features.store import read, verify
from headstart.features.store.opening import opened


def heap_that_never_ends(store: Path) -> None:
    """Damage the global heap as the known loop of HDF5 2.0 wants it, in a file without a seal."""
    data = bytearray(store.read_bytes())[:-48]
    heap = data.find(b"GCOL")
    first = heap + 16
    assert heap > 0
    # The first object's size leads into the zeros at the end of the heap.
    end = heap + int.from_bytes(data[heap + 8 : heap + 16], "little")
    data[first + 8 : first + 16] = (end - first - 16 - 24).to_bytes(8, "little")
    store.write_bytes(data)


@pytest.mark.slow
def test_a_damaged_heap_stops_nobody(store, monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    heap_that_never_ends(store)
    started = time.process_time()
    for look in (read, verify):
        try:
            found = look(store)
        except StoreError as error:
            assert str(error).isprintable()  # noqa: PT017
        else:
            assert found
    assert time.process_time() - started < 2  # not in this process, at least


@pytest.mark.slow
def test_a_store_of_another_tool_is_read_by_way_of_another_process(store, build, monkeypatch):
    with h5py.File(store, "r+") as file:
        file.attrs["note"] = "mine"
    assert build.matches(read(store), build.listing())
    assert verify(store) == []
    with h5py.File(store, "r+") as file:
        file["label"][1] = 7
    assert verify(store)[0] == "the data of label do not match their checksum (row 1)"
    with pytest.raises(StoreError, match="cannot be used: the data of label do not match"):
        read(store)
    with opened(store) as file:  # and nothing holds it
        assert file["label"][1] == 7
