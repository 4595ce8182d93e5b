"""Repair: what can be trusted stays, what cannot goes, nothing is invented, nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from headstart.core import sandbox
from headstart.core.errors import StoreError
from headstart.features.store import read, repair, verify
from headstart.features.store.columns import Failure
from headstart.features.store.layout import row_checks
from headstart.features.store.seal import seal
from headstart.features.store.writer import StoreWriter
from hypothesis import given
from hypothesis import strategies as st

SEAL = 48


pytestmark = pytest.mark.usefixtures("no_sandbox")


def edit(store: Path, change) -> None:
    with h5py.File(store, "r+") as file:
        change(file)


def flip(store: Path, name: str, rows) -> None:
    """Damage the bytes of some rows of a dataset on the disk; the seal stays, and is broken."""
    with h5py.File(store) as file:
        start, width = file[name].id.get_offset(), file[name].nbytes // len(file[name])
    data = bytearray(store.read_bytes())
    for row in rows:
        data[start + row * width] ^= 0x40
    store.write_bytes(data)


def without_rows(build, *dropped):
    return [image for at, image in enumerate(build.listing()) if at not in dropped]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mended(store: Path, build, *dropped) -> None:
    """Check that exactly these rows were dropped and that a run brings them back."""
    assert verify(store) == []
    assert build.matches(read(store), without_rows(build, *dropped))
    ran = build.run(store, build.listing())
    assert ran.embedded == len(dropped)
    assert build.matches(read(store), build.listing())


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["features", "pixels", "label", "sha256", "size", "mtime_ns"])
def test_damaged_rows_are_dropped_and_embedded_again(store, build, name):
    before = store.read_bytes()
    flip(store, name, [1, 4])
    damaged = store.read_bytes()
    done = repair(store)
    assert done.kept == 4
    assert done.dropped == {f"{name} does not match its checksum or cannot be read": 2}
    assert done.notes == []
    assert done.backup.read_bytes() == damaged != before
    assert names(store.parent) == ["s.h5", "s.h5.damaged"]
    assert read(store).failures == [("bark/bad.jpg", "truncated"), ("x.jpg", "empty")]
    mended(store, build, 1, 4)


@pytest.mark.slow
def test_damaged_checksums_cost_nothing_where_the_whole_column_has_one(store, build):
    flip(store, "checks", [0, 3])
    assert repair(store).dropped == {}
    mended(store, build)


def test_a_sound_store_is_left_alone(store):
    before = store.stat()
    done = repair(store)
    assert (done.backup, done.dropped) == (None, {})
    assert (store.stat().st_ino, store.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(store.parent) == ["s.h5"]


SENSE = {  # edits whose checksums agree, as another tool would make them
    "not finite": ("features", (2, 1), np.nan, "features are not finite"),
    "label": ("label", 2, 9, "unknown label code"),
    "split": ("split", 2, "dev", "unknown split"),
}


def agree(file) -> None:
    """Make the rows' checksums agree with the data and forget those of the columns."""
    from headstart.features.store.columns import of_version

    for at, name in enumerate(column.name for column in of_version(1)):
        file["checks"][:, at] = row_checks(file[name][:])
    del file.attrs["checksums"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SENSE)
def test_rows_that_make_no_sense_are_dropped(store, build, name):
    column, at, value, why = SENSE[name]

    def change(file):
        file[column][at] = value
        agree(file)

    edit(store, change)
    assert repair(store).dropped == {why: 1}
    mended(store, build, 2)


@pytest.mark.slow
def test_of_rows_that_claim_one_path_none_is_kept(store, build):
    def change(file):
        file["path"][3] = file["path"][0]
        agree(file)

    edit(store, change)
    assert repair(store).dropped == {"repeated path": 2}
    assert build.matches(read(store), without_rows(build, 0, 3))
    # Their features were good, but nobody could know whose they are.
    assert build.run(store, build.listing()).embedded == 2
    assert build.matches(read(store), build.listing())


def replace(name: str, change):
    def edit(file):
        data = change(file[name][:])
        del file[name]
        kind = h5py.string_dtype() if data.dtype == object else data.dtype
        file.create_dataset(name, data=data, dtype=kind)

    return edit


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["features", "path", "sha256"])
def test_a_truncated_column_keeps_its_rows(store, build, name):
    edit(store, replace(name, lambda data: data[:4]))
    done = repair(store)
    assert (done.kept, done.dropped) == (4, {})
    mended(store, build, 4, 5)


@pytest.mark.slow
def test_a_row_cut_out_of_one_column_costs_what_follows(store, build):
    edit(store, replace("features", lambda data: np.delete(data, 2, axis=0)))
    assert repair(store).kept == 2
    mended(store, build, 2, 3, 4, 5)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["label", "split", "classes"])
def test_labels_can_be_lost_and_come_back(store, build, name):
    def change(file):
        if name == "classes":
            file.attrs["classes"] = ["cloth", "bark"]  # which is it?
        else:
            del file[name]

    edit(store, change)
    done = repair(store)
    assert (done.kept, done.dropped) == (6, {})
    (note,) = done.notes
    assert "labels, splits and classes" in note
    data = read(store)
    assert (data.label.tolist(), data.split, data.classes) == ([-1] * 6, [""] * 6, ())
    assert build.run(store, build.listing()).embedded == 0
    assert build.matches(read(store), build.listing())


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["size", "mtime_ns"])
def test_lost_states_make_files_be_read_again(store, build, name):
    edit(store, old)
    edit(store, lambda file: file[name].__setitem__(1, 5))
    (note,) = repair(store).notes
    assert "sizes and times" in note
    with h5py.File(store) as file:
        assert file["size"][:].tolist() == file["mtime_ns"][:].tolist() == [-1] * 6
    mended(store, build)


@pytest.mark.slow
def test_lost_pixels_leave_a_store_that_can_be_used(store, build):
    edit(store, lambda file: file.__delitem__("pixels"))
    before = read(store)
    assert repair(store).backup is None  # they are no part of the contract
    flip(store, "features", [2])
    (note,) = repair(store).notes
    assert "pixels" in note
    after = read(store)
    assert after.pixels is None
    assert after.features.tobytes() == np.delete(before.features, 2, axis=0).tobytes()


@pytest.mark.slow
def test_lost_failures_are_met_again(store, build):
    edit(store, lambda file: file["failures/reason"].__setitem__(0, "other"))
    (note,) = repair(store).notes
    assert "failures" in note
    assert read(store).failures == []
    mended(store, build)


@pytest.mark.slow
def test_a_broken_seal_alone_is_mended(store, build):
    data = bytearray(store.read_bytes())
    data[-1] ^= 1
    store.write_bytes(data)
    done = repair(store)
    assert (done.kept, done.dropped, done.notes) == (6, {}, [])
    mended(store, build)


# Stores without checksums of rows: older ones, and those of other tools


def old(file) -> None:
    """Make a store what it was before rows had checksums."""
    sums = json.loads(file.attrs["checksums"])
    del sums["checks"], file["checks"]
    file.attrs["checksums"] = json.dumps(sums)


@pytest.mark.slow
def test_an_old_store_keeps_the_columns_that_match(store, build):
    edit(store, old)
    edit(store, lambda file: file["label"].__setitem__(2, 1 - file["label"][2]))
    (note,) = repair(store).notes
    assert "labels, splits and classes" in note
    assert build.run(store, build.listing()).embedded == 0
    assert build.matches(read(store), build.listing())


def test_another_tool_s_store_keeps_the_rows_that_make_sense(store, build):
    def change(file):
        old(file)
        del file.attrs["checksums"], file["pixels"], file["size"], file["mtime_ns"]
        file["features"][1, 2] = np.inf

    edit(store, change)
    assert repair(store).dropped == {"features are not finite": 1}
    assert read(store).path == [image.path for image in without_rows(build, 1)]


HOPELESS = {
    "no features": (lambda f: f.__delitem__("features"), "dataset features is missing"),
    "no paths": (lambda f: f.__delitem__("path"), "dataset path is missing"),
    "no hashes": (lambda f: f.__delitem__("sha256"), "dataset sha256 is missing"),
    "no identity": (lambda f: f.attrs.__delitem__("extraction"), "which network made its features"),
    "another identity": (lambda f: f.attrs.__setitem__("digest", "0" * 64), "which network made"),
    "no format": (
        lambda f: f.attrs.__setitem__("format", "photos"),
        "not a feature store of version",
    ),
    "newer": (lambda f: f.attrs.__setitem__("version", 9), "not a feature store of version"),
    "no checksums of rows": (
        lambda f: (old(f), f["features"].__setitem__((2, 1), 7)),
        "the data of features do not match their checksum",
    ),
    "no length": (
        lambda f: (old(f), f.attrs.__delitem__("checksums"), replace("path", lambda d: d[1:])(f)),
        "differ in length",
    ),
    "all rows": (lambda f: f["features"].__setitem__(..., np.nan), "no row of it can be trusted"),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_what_cannot_be_repaired_is_said_and_left(store, name):
    change, why = HOPELESS[name]
    edit(store, change)
    before = store.read_bytes()
    with pytest.raises(StoreError, match="cannot be repaired") as caught:
        repair(store)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()
    assert store.read_bytes() == before
    assert names(store.parent) == ["s.h5"]


# Files that were cut short, as by a copy that did not end


@pytest.fixture(scope="module")
def long(tmp_path_factory, build) -> tuple[Path, list]:
    path = tmp_path_factory.mktemp("long") / "s.h5"
    images = build.listing(400)
    build.run(path, images)
    return path, images


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9, 0.99])
def test_a_store_that_was_cut_short_keeps_the_rows_before_the_cut(tmp_path, build, long, share):
    whole, images = long
    path = tmp_path / "s.h5"
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    try:
        done = repair(path)
    except StoreError as error:
        assert share <= 0.1, error  # noqa: PT017 - little more than the names of the images
        return
    assert done.kept >= (share - 0.15) * len(images)
    assert verify(path) == []
    assert build.matches(read(path), images[: done.kept])
    assert build.run(path, images).embedded == len(images) - done.kept
    assert build.matches(read(path), images)
    assert names(tmp_path) == ["s.h5", "s.h5.damaged"]


# Around it


@pytest.mark.slow
def test_no_backup_is_ever_overwritten(store, build):
    for number in (1, 2, 3):
        flip(store, "features", [number])
        backup = repair(store).backup
        assert backup.name == "s.h5.damaged" + (f"-{number}" if number > 1 else "")
        build.run(store, build.listing())
    assert len({path.read_bytes() for path in store.parent.glob("*.damaged*")}) == 3


def test_a_store_that_is_being_written_is_not_repaired(store, build):
    flip(store, "features", [0])
    store_bytes = store.read_bytes()
    other = store.with_name("other.h5")
    build.run(other, build.listing())
    store.rename(store.with_name("kept"))
    with StoreWriter(store, build.extraction()):
        store.write_bytes(store_bytes)
        with pytest.raises(StoreError, match="is being written by process"):
            repair(store)
        store.unlink()


@pytest.mark.slow
def test_what_is_there_besides_is_kept_or_swept(store, build):
    build.run(store, build.listing(8), stop_after=1)  # a journal
    (store.parent / ".s.h5.77.partial").write_bytes(b"half")
    flip(store, "features", [0])
    repair(store)
    assert names(store.parent) == ["s.h5", "s.h5.damaged", "s.h5.journal"]
    assert build.run(store, build.listing(8)).embedded == 2


def test_a_disk_that_is_full_leaves_the_store(store, monkeypatch):
    flip(store, "features", [0])
    before = store.read_bytes()
    with monkeypatch.context() as patch:

        def full(*args):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match="No space left on device"):
            repair(store)
    assert store.read_bytes() == before
    assert names(store.parent) == ["s.h5"]


@pytest.mark.slow
def test_by_way_of_another_process(store, build, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "call", REAL_CALL)
    flip(store, "features", [2])
    assert repair(store).kept == 5
    mended(store, build, 2)


REAL_CALL = sandbox.call


# Damage anywhere: never a wrong row


@pytest.mark.slow
@given(data=st.data())
def test_no_repair_lets_a_wrong_row_through(tmp_path_factory, build, data):
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "s.h5"
    images = build.listing(5)
    build.run(path, images, [Failure("x.jpg", "empty", b"")])
    damaged = bytearray(path.read_bytes())
    spared = [at for at in SAFE(path)]
    for at in data.draw(st.lists(st.sampled_from(spared), min_size=1, max_size=6)):
        damaged[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    try:
        done = repair(path)
    except StoreError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert path.read_bytes() == damaged
        return
    assert verify(path) == []
    held = read(path)
    by_path = {image.path: image for image in images}
    for row, name in enumerate(held.path):
        record = build.record(by_path[name].content)
        assert held.features[row].tobytes() == record.values["features"].tobytes()
        assert held.sha256[row].tobytes() == record.sha256
        assert held.label[row] in (-1, by_path[name].label)
        assert held.split[row] in ("", by_path[name].split)
    if done.backup is not None:
        assert done.kept == len(held.path)
        assert done.backup.read_bytes() == damaged


def SAFE(path: Path) -> list[int]:
    """Return places outside HDF5's global heaps, whose damage may loop (see test_trial)."""
    data = path.read_bytes()
    left_out: set[int] = set()
    heap = data.find(b"GCOL")
    while heap >= 0:
        end = heap + int.from_bytes(data[heap + 8 : heap + 16], "little")
        left_out.update(range(heap, end))
        heap = data.find(b"GCOL", end)
    with h5py.File(path) as file:
        for name in ("path", "split"):
            start = file[name].id.get_offset()
            left_out.update(range(start, start + file[name].id.get_storage_size()))
        pixels = file["pixels"].id.get_offset()
        left_out.update(range(pixels + 64, pixels + file["pixels"].nbytes - 64))
    return [at for at in range(len(data)) if at not in left_out]


def test_a_resealed_lie_is_no_repair(store):
    """A seal is no signature: a file that is sealed and makes no sense is still refused."""
    edit(store, lambda file: file["label"].__setitem__(1, 44))
    seal(store)
    with pytest.raises(StoreError, match="row 1 has label code 44"):
        read(store)
