from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from headstart.core.errors import StoreError
from headstart.features.store import read, verify
from headstart.features.store.columns import Failure, FileState, Row, stored_name
from headstart.features.store.writer import StoreWriter, state_key
from hypothesis import given
from hypothesis import strategies as st


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bad(count: int) -> list[Failure]:
    return [Failure(f"bad/{at}.jpg", f"reason {at % 3}", b"") for at in range(count)]


# Publishing


def test_what_is_appended_is_published_in_listing_order(tmp_path, build):
    path = tmp_path / "new folder" / "s.h5"
    images = build.listing(9)
    failures = [Failure("x.jpg", "truncated", b"\1" * 32), Failure("a.jpg", "empty", b"")]
    with StoreWriter(path, build.extraction()) as writer:
        writer.append([build.record(image.content) for image in images[5:]])
        writer.append([build.record(image.content) for image in reversed(images[:5])])
        rows = [
            Row(image.path, image.label, image.split, build.sha256(image.content), image.state)
            for image in images
        ]
        assert all(writer.holds(row.sha256) for row in rows)
        published = writer.publish(rows, failures, build.classes, {"software": {"x": "1"}})
    assert published
    data = read(path)
    assert build.matches(data, images)
    assert data.failures == [("x.jpg", "truncated"), ("a.jpg", "empty")]
    assert verify(path) == []
    assert names(path.parent) == ["s.h5"]  # no journal, no lock, nothing half written


def test_the_file_is_what_the_contract_says(store, build):
    with h5py.File(store) as file:
        assert file.attrs["format"] == "headstart-features"
        assert file.attrs["version"] == 1
        assert file.attrs["classes"].tolist() == ["bark", "cloth"]
        assert json.loads(file.attrs["extraction"])["backbone"]["name"] == "net"
        assert file.attrs["digest"] == build.extraction().digest
        assert file.attrs["created"].endswith("+00:00")
        assert json.loads(file.attrs["software"]) == {}
        for name, shape, kind in (
            ("features", (6, 4), "<f4"),
            ("label", (6,), "<i4"),
            ("sha256", (6, 32), "u1"),
            ("pixels", (6, 32, 32, 3), "u1"),
        ):
            assert (file[name].shape, file[name].dtype) == (shape, kind)
        for name in ("path", "split", "failures/path", "failures/reason"):
            assert h5py.check_string_dtype(file[name].dtype).encoding == "utf-8"
        assert file["path"].asstr()[:2].tolist() == ["bark/0.jpg", "cloth/1.jpg"]
        assert file["failures/reason"].asstr()[:].tolist() == ["truncated", "empty"]
        assert set(json.loads(file.attrs["checksums"])) == {
            *("features", "pixels", "path", "label", "split", "sha256", "size", "mtime_ns"),
            *("checks", "certificate", "run"),
            *("failures/path", "failures/reason", "failures/sha256", "classes"),
        }


def test_duplicates_share_their_features_and_keep_their_rows(tmp_path, build):
    images = [build.image(f"{at}.jpg", content=at % 2, label=at % 2) for at in range(6)]
    assert build.run(tmp_path / "s.h5", images).embedded == 2
    assert build.matches(read(tmp_path / "s.h5"), images)


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_any_number_of_failures(tmp_path, build, count):
    path = tmp_path / "s.h5"
    build.run(path, build.listing(), bad(count))
    assert verify(path) == []
    assert read(path).failures == [(failure.path, failure.reason) for failure in bad(count)]
    assert build.run(path, build.listing(), bad(count)).published is False
    assert build.run(path, build.listing(), bad(count + 1)).published is True


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 2500])
def test_any_number_of_rows(tmp_path, build, count):
    path = tmp_path / "s.h5"
    images = [build.image(f"{at}.jpg", content=at % 7) for at in range(count)]
    build.run(path, images)
    assert verify(path) == []
    assert build.matches(read(path), images)
    assert build.run(path, images).published is False
    assert build.run(path, images[1:]).published is (count > 0)


@pytest.mark.slow
def test_more_classes_than_an_ordinary_attribute_can_hold(tmp_path, build):
    path = tmp_path / "s.h5"
    classes = [f"class number {at:05} é" for at in range(30_000)]
    images = [build.image("a.jpg", 1, label=29_999), build.image("b.jpg", 2, label=0)]
    build.run(path, images, classes=classes)
    assert verify(path) == []
    assert read(path).classes == tuple(classes)
    assert build.run(path, images, classes=classes).published is False


@pytest.mark.slow
def test_without_labels(tmp_path, build):
    path = tmp_path / "s.h5"
    images = [build.image(f"{at}.jpg", at, label=-1, split="") for at in range(3)]
    build.run(path, images, classes=())
    assert verify(path) == []
    assert read(path).classes == ()
    assert read(path).label.tolist() == [-1, -1, -1]
    assert build.run(path, images, classes=()).published is False


@pytest.mark.slow
def test_paths_that_are_not_utf8(tmp_path, build):
    path = tmp_path / "s.h5"
    images = [
        build.image(os.fsdecode(b"caf\xe9/\xff\n.jpg"), 1),
        build.image("café/日本.jpg", 2),
    ]
    failures = [Failure(os.fsdecode(b"\xe9.jpg"), "empty", b"")]
    assert build.run(path, images, failures).embedded == 2
    assert verify(path) == []
    assert read(path).path == ["caf\\xe9/\\xff\n.jpg", "café/日本.jpg"]
    assert read(path).failures == [("\\xe9.jpg", "empty")]
    again = build.run(path, images, failures)
    assert (again.embedded, again.published) == (0, False)


@given(st.binary(max_size=20).filter(lambda raw: b"\\" not in raw and b"\0" not in raw))
def test_a_stored_name_is_utf8_and_unambiguous(raw):
    name = stored_name(os.fsdecode(raw))
    assert stored_name(name) == name
    # Nothing is lost: the escapes can be undone.
    parts = name.encode().split(b"\\x")
    assert parts[0] + b"".join(bytes([int(p[:2], 16)]) + p[2:] for p in parts[1:]) == raw


def test_a_stored_name_is_the_same_in_every_locale(monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii", "surrogateescape"))
    assert stored_name("Ü.png") == stored_name("\udcc3\udc9c.png") == "Ü.png"


# Bringing a store up to date


class Change(NamedTuple):
    """An old listing that became the builder's own, and how many images that makes to embed."""

    before: list
    embedded: int


@pytest.mark.slow
@pytest.mark.parametrize("name", ["add", "remove", "rename", "relabel", "replace", "reorder"])
def test_only_new_content_is_embedded(tmp_path, build, name):
    path = tmp_path / "s.h5"
    now = build.listing(6)
    change = {
        "add": Change(now[:2] + now[3:], 1),
        "remove": Change([*now, build.image("gone.jpg", 99)], 0),
        "rename": Change([now[0]._replace(path="old name.jpg"), *now[1:]], 0),
        "relabel": Change([i._replace(label=1 - i.label, split="") for i in now], 0),
        "replace": Change([*now[:5], now[5]._replace(content=98)], 1),
        "reorder": Change(now[::-1], 0),
    }[name]
    build.run(path, change.before)
    ran = build.run(path, now)
    assert (ran.embedded, ran.published) == (change.embedded, True)
    assert verify(path) == []
    assert build.matches(read(path), now)
    with h5py.File(path) as file:
        assert file["size"][:].tolist() == [image.state.size for image in now]
        assert file["mtime_ns"][:].tolist() == [image.state.mtime_ns for image in now]


@pytest.mark.slow
def test_old_features_are_taken_from_the_store_wherever_they_lie(tmp_path, build, monkeypatch):
    monkeypatch.setattr("headstart.features.store.layout.BLOCK", 2)  # so that 30 rows lie far apart
    path = tmp_path / "s.h5"
    images = [build.image(f"{at:02}.jpg", at) for at in range(30)]
    build.run(path, images)
    order = [29, 0, 3, 15, 4, 4, 28, 1, 40, 2]
    now = [build.image(f"new {at}.jpg", content) for at, content in enumerate(order)]
    assert build.run(path, now).embedded == 1
    assert build.matches(read(path), now)


def test_a_store_that_says_the_same_is_not_touched(store, build):
    failures = [Failure("bark/bad.jpg", "truncated", bytes(32)), Failure("x.jpg", "empty", b"")]
    before = (store.stat(), store.read_bytes())
    ran = build.run(store, build.listing(), failures)
    assert (ran.embedded, ran.published) == (0, False)
    after = store.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before[0].st_ino, before[0].st_mtime_ns)
    assert store.read_bytes() == before[1]
    assert names(store.parent) == ["s.h5"]


@pytest.mark.parametrize("change", ["split", "label", "classes", "reason", "touched"])
def test_a_store_that_says_anything_else_is_written(store, build, change):
    images, classes = build.listing(), build.classes
    failures = [Failure("bark/bad.jpg", "truncated", b""), Failure("x.jpg", "empty", b"")]
    if change == "split":
        images[2] = images[2]._replace(split="validation")
    elif change == "label":
        images[2] = images[2]._replace(label=-1)
    elif change == "classes":
        classes = ("bark", "linen")
    elif change == "reason":
        failures[1] = failures[1]._replace(reason="gone")
    else:  # another file with the same bytes in the same place
        state = FileState(images[2].state.size, 5)
        images[2] = type("Touched", (build.image,), {"state": state})(*images[2])
    assert build.run(store, images, failures, classes).published is True
    assert verify(store) == []


def test_a_file_in_a_known_state_need_not_be_read(store, build):
    image = build.listing()[3]
    with StoreWriter(store, build.extraction()) as writer:
        assert writer.published_before == 6
        assert writer.hash_of(state_key(image.path, image.state)) == build.sha256(image.content)
        assert writer.hash_of(state_key("other.jpg", image.state)) is None
        grown = FileState(image.state.size + 1, image.state.mtime_ns)
        assert writer.hash_of(state_key(image.path, grown)) is None
        assert writer.holds(build.sha256(image.content))
        assert not writer.holds(build.sha256(99))


def test_threads_may_append(tmp_path, build):
    images = [build.image(f"{at}.jpg", at) for at in range(64)]
    with StoreWriter(tmp_path / "s.h5", build.extraction()) as writer:
        threads = [
            threading.Thread(
                target=lambda part: [writer.append([build.record(i.content)]) for i in part],
                args=(images[at::8],),
            )
            for at in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = [Row(i.path, 0, "train", build.sha256(i.content), i.state) for i in images]
        writer.publish(rows, [], build.classes, {})
    assert build.matches(read(tmp_path / "s.h5"), images)


def test_a_content_is_claimed_once(store, build):
    with StoreWriter(store, build.extraction()) as writer:
        assert not writer.claim(build.sha256(0))  # in the store already
        asked: list[bool] = []
        threads = [
            threading.Thread(
                target=lambda: asked.extend(writer.claim(build.sha256(at)) for at in range(200))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (sum(asked), len(asked)) == (194, 800)
        assert not writer.holds(build.sha256(50))  # a claim is no feature
        writer.append([build.record(50)])
        assert writer.holds(build.sha256(50))


# Refusals


def refused(store: Path, build, **changes) -> str:
    before = store.read_bytes()
    with pytest.raises(StoreError) as caught:
        build.run(store, build.listing(), **changes)
    assert str(caught.value).isprintable()
    assert store.read_bytes() == before
    assert [n for n in names(store.parent) if not n.endswith(".journal")] == ["s.h5"]
    return str(caught.value)


def test_features_of_another_extraction_are_refused_with_the_difference(store, build):
    assert refused(store, build, layer="block\n6", pool="max") == (
        f"{store} holds features of a different backbone or preprocessing (backbone.layer: head "
        "there, block\\n6 now; backbone.pool: avg there, max now); choose another --out"
    )


def test_unfinished_work_of_another_extraction_is_refused_and_kept(tmp_path, build):
    path = tmp_path / "s.h5"
    build.run(path, build.listing(), stop_after=3)
    with pytest.raises(StoreError, match="unfinished work with a different backbone"):
        build.run(path, build.listing(), name="other")
    assert build.run(path, build.listing()).embedded == 3


@pytest.mark.slow
def test_a_damaged_store_is_refused_with_its_defect(store, build):
    with h5py.File(store, "r+") as file:
        file["features"][2, 1] = 7
    said = refused(store, build)
    assert "cannot be continued: the data of features do not match their checksum (row" in said
    assert "headstart verify --repair" in said


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["pixels", "size", "mtime_ns"])
def test_a_store_without_what_continuing_needs_is_refused(store, build, name):
    with h5py.File(store, "r+") as file:
        del file[name]
    assert f"cannot be continued: it has no {name}; " in refused(store, build)


@pytest.mark.slow
def test_another_file_in_the_place_is_refused(store, build):
    store.write_bytes(b"my thesis")
    assert "is not a readable feature store" in refused(store, build)


def test_a_second_writer_is_refused_and_the_first_goes_on(store, build):
    with StoreWriter(store, build.extraction()) as writer:
        with pytest.raises(StoreError, match="is being written by process"):
            StoreWriter(store, build.extraction())
        writer.append([build.record(50)])
    assert "s.h5.journal" in names(store.parent)


@pytest.mark.slow
def test_features_are_exact(tmp_path, build):
    """Every float32 comes back bit for bit, by way of the journal and of the old store."""
    values = np.array([np.float32(2**-149), -0.0, np.finfo("f4").max, 1 / 3], "f4")
    path = tmp_path / "s.h5"
    record = build.record(1)
    record = record._replace(values={**record.values, "features": values})
    row = Row("a.jpg", 0, "train", record.sha256, FileState(1, 2))
    for number in range(2):
        with StoreWriter(path, build.extraction()) as writer:
            if not number:
                writer.append([record])
            writer.publish([row._replace(path=f"{number}.jpg")], [], build.classes, {})
        assert read(path).features.tobytes() == values.tobytes()
