from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from headstart.core.errors import StoreError
from headstart.features.store import read, verify
from headstart.features.store.opening import opened

TEXT = h5py.string_dtype("utf-8")
DATASETS = ("features", "pixels", "path", "label", "split", "sha256", "size", "mtime_ns", "checks")
SEAL = 48  # bytes
FAILURES = ("failures/path", "failures/reason", "failures/sha256")


pytestmark = pytest.mark.usefixtures("no_sandbox")


def edit(store: Path, change) -> Path:
    with h5py.File(store, "r+") as file:
        change(file)
    return store


def put(name: str, data, **how):
    """Give a change that puts another dataset in the place of one."""

    def change(file):
        if name in file:
            del file[name]
        file.create_dataset(name, data=data, **how)

    return change


def drop(name: str):
    def change(file):
        del file[name]

    return change


def attribute(name: str, value):
    """Give a change that sets an attribute, or removes it (None)."""

    def change(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


def element(name: str, at, value):
    """Give a change of one element, in a store that has no checksums to notice it by."""

    def change(file):
        del file.attrs["checksums"]
        file[name][at] = value

    return change


def sealed(name: str, data):
    """Give a change of a whole dataset, in a store that has no checksums to notice it by."""

    def change(file):
        del file.attrs["checksums"]
        put(name, data)(file)

    return change


def link(name: str, target):
    def change(file):
        if name in file:
            file.move(name, "moved")
        file[name] = target

    return change


def external_storage(file):
    del file["label"]
    file.create_dataset("label", (6,), "<i4", external=[("/etc/hostname", 0, 24)])


def virtual(file):
    layout = h5py.VirtualLayout((6,), "<i4")
    layout[:] = h5py.VirtualSource("other.h5", "label", (6,))
    del file["label"]
    file.create_virtual_dataset("label", layout)


def absurd(shape, **how):
    def change(file):
        del file["features"]
        file.create_dataset("features", shape, "<f4", **how)

    return change


def without_data(file):
    """Let the dataset be as long as it says, in a file that ends long before."""
    del file["label"]
    space = h5py.h5s.create_simple((6,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(file.id, b"label", h5py.h5t.STD_I32LE, space, plist)


def backbone(**values):
    """Give a change of the extraction's document, with the digest that belongs to it."""

    def change(file):
        from headstart.core.records import digest_of

        document = json.loads(file.attrs["extraction"])
        document["backbone"] |= values
        file.attrs["extraction"] = json.dumps(document)
        file.attrs["digest"] = digest_of(document)

    return change


DEFECTS = {
    # Attributes
    "other format": (attribute("format", "photos"), "it is an HDF5 file, but no feature store"),
    "no format": (attribute("format", None), "it is an HDF5 file, but no feature store"),
    "newer version": (attribute("version", 4), "its format has version 4; this Headstart reads"),
    "no version": (attribute("version", None), "its format has version None; this Headstart"),
    "odd version": (attribute("version", "1\n2"), r"its format has version 1\n2; this Headstart"),
    "no classes": (attribute("classes", None), "attribute classes is missing"),
    "classes one text": (attribute("classes", "ab"), "attribute classes is not a list of texts"),
    "classes numbers": (attribute("classes", [1, 2]), "attribute classes is not a list of texts"),
    "other classes": (attribute("classes", ["x", "y"]), "the data of classes do not match"),
    "no extraction": (attribute("extraction", None), "attribute extraction is missing"),
    "extraction not JSON": (
        attribute("extraction", "{"),
        "extraction is not a JSON object",
    ),
    "extraction a list": (
        attribute("extraction", "[1]"),
        "extraction is not a JSON object",
    ),
    "extraction a number": (
        attribute("extraction", 1),
        "extraction is not a JSON object",
    ),
    "other extraction": (attribute("extraction", "{}"), "attribute digest does not belong to"),
    "not a backbone": (attribute("extraction", "{}"), "attribute extraction describes no backbone"),
    "odd backbone": (backbone(mean=3), "attribute extraction describes no backbone"),
    "other width": (backbone(dim=5), "features has shape (6, 4), but the backbone gives 5 a row"),
    "no digest": (attribute("digest", None), "attribute digest is missing"),
    "other digest": (attribute("digest", "0" * 64), "attribute digest does not belong to"),
    "empty digest": (attribute("digest", h5py.Empty("f4")), "attribute digest does not belong to"),
    "checksums a list": (attribute("checksums", "[1]"), "attribute checksums is not a JSON object"),
    "run not JSON": (attribute("run", "photos"), "attribute run is not a JSON object"),
    # Types and shapes
    "text as number": (put("label", ["a"] * 6, dtype=TEXT), "label has type object, not i4"),
    "number as text": (put("path", np.arange(6)), "path has type int64, not text"),
    "double features": (put("features", np.zeros((6, 4))), "features has type float64, not f4"),
    "unsigned label": (put("label", np.zeros(6, "u4")), "label has type uint32, not i4"),
    "flat features": (put("features", np.zeros(6, "f4")), "features has shape (6,)"),
    "short hash": (put("sha256", np.zeros((6, 31), "u1")), "sha256 has shape (6, 31)"),
    "grey pixels": (put("pixels", np.zeros((6, 32, 32), "u1")), "pixels has shape (6, 32, 32)"),
    "scalar": (put("label", np.int32(1)), "label has shape ()"),
    "null": (put("label", h5py.Empty("i4")), "label has shape None"),
    "a group": (
        lambda file: (drop("size")(file), file.create_group("size")),
        "size is not a dataset",
    ),
    "a type": (link("size", np.dtype("i8")), "size is not a dataset"),
    "failures a dataset": (lambda f: (drop("failures")(f), put("failures", 1)(f)), "not a group"),
    "lengths": (put("label", np.zeros(5, "i4")), "the datasets differ in length (features 6, path"),
    "failures' lengths": (
        put("failures/reason", ["one"], dtype=TEXT),
        "the datasets differ in length (failures/path 2, failures/reason 1, failures/sha256 2)",
    ),
    # Content
    "not a number": (element("features", (2, 1), np.nan), "row 2 has features that are not finite"),
    "infinite": (element("features", (5, 3), np.inf), "row 5 has features that are not finite"),
    "label too high": (element("label", 4, 2), "row 4 has label code 2, but there are 2 classes"),
    "label too low": (element("label", 0, -2), "row 0 has label code -2, but there are 2 classes"),
    "odd split": (element("split", 3, "a\nb"), r"row 3 has the unknown split 'a\\nb'"),
    "path twice": (element("path", 3, "bark/0.jpg"), "row 3 repeats the path bark/0.jpg"),
    # What leads elsewhere, or nowhere
    "soft link": (link("features", h5py.SoftLink("/moved")), "features is a link to elsewhere"),
    "external link": (
        link("pixels", h5py.ExternalLink("/etc/hostname", "/x")),
        "pixels is a link to elsewhere",
    ),
    "failures linked": (link("failures", h5py.SoftLink("/moved")), "failures is a link to"),
    "failures elsewhere": (
        link("failures", h5py.ExternalLink("other.h5", "/failures")),
        "failures is a link to elsewhere",
    ),
    "external storage": (external_storage, "label keeps its data in other files"),
    "virtual": (virtual, "label keeps its data in other files"),
    "never written": (without_data, "label has shape (6,), but the file holds less"),
    "absurd, contiguous": (absurd((10**12, 4)), "features has shape (1000000000000, 4), but the"),
    "absurd, chunked": (
        absurd((10**12, 4), chunks=(1024, 4), fillvalue=1),
        "features has shape (1000000000000, 4), but the file holds less",
    ),
}
for _name in ("features", "path", "label", "split", "sha256", "failures/path", "failures/reason"):
    DEFECTS[f"no {_name}"] = (drop(_name), f"dataset {_name} is missing")


def told(path: Path, text: str) -> bool:
    return any(text in defect for defect in verify(path))


def refused(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    return message


# Sound stores


def test_a_sound_store_has_no_defects_and_reads_as_it_was_written(store, build):
    assert verify(store) == []
    data = read(store)
    assert build.matches(data, build.listing())
    assert data.classes == build.classes
    assert data.extraction == json.loads(json.dumps(build.extraction().to_json()))
    assert data.digest == build.extraction().digest
    assert data.failures == [("bark/bad.jpg", "truncated"), ("x.jpg", "empty")]
    assert data.name == "photos"
    assert (data.features.dtype, data.label.dtype) == (np.float32, np.int32)
    assert (data.sha256.dtype, data.pixels.dtype) == (np.uint8, np.uint8)


def test_a_store_of_another_tool_needs_neither_extras_nor_checksums(store, build):
    """What the contract asks for, in other widths, layouts and kinds of text."""

    def change(file):
        for name in ("pixels", "size", "mtime_ns", "failures"):
            del file[name]
        for name in ("checksums", "run", "created", "software"):
            del file.attrs[name]
        put("features", file["features"][:].astype("f2"), chunks=(2, 2), fletcher32=True)(file)
        put("label", file["label"][:].astype(">i4"))(file)
        put("path", file["path"].asstr()[:].astype("S"))(file)
        for name in ("format", "extraction", "digest"):
            file.attrs[name] = np.bytes_(file.attrs[name])
        file.attrs["classes"] = np.array(build.classes, "S")

    edit(store, change)
    data = read(store)
    assert data.path == [image.path for image in build.listing()]
    assert data.label.tolist() == [image.label for image in build.listing()]
    assert data.classes == build.classes
    assert data.digest == build.extraction().digest
    assert data.features.dtype == np.float32
    assert (data.pixels, data.failures, data.name) == (None, [], "s.h5")
    assert verify(store) == [
        f"{name} has no checksum" for name in ("classes", "features", "path", "label", "split")
    ] + ["sha256 has no checksum", "checks has no checksum"]


# Defects


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_and_the_store_is_not_read(store, name):
    change, said = DEFECTS[name]
    edit(store, change)
    defects = verify(store)
    assert [defect for defect in defects if said in defect], defects
    assert all(defect.isprintable() for defect in defects)
    assert any(defect in refused(store) for defect in defects)


def test_every_defect_is_named(store):
    def change(file):
        del file.attrs["checksums"]
        file["features"][1] = np.nan
        file["features"][4] = np.inf
        file["label"][2] = 7
        file["split"][3] = "dev"
        file["path"][5] = file["path"][0]

    assert verify(edit(store, change)) == [
        "row 1 has features that are not finite",
        "row 4 has features that are not finite",
        "row 2 has label code 7, but there are 2 classes",
        "row 3 has the unknown split 'dev'",
        "row 5 repeats the path bark/0.jpg",
    ]


@pytest.mark.parametrize("name", DATASETS + FAILURES)
def test_a_changed_value_is_found_by_its_checksum(store, name):
    def change(file):
        if h5py.check_string_dtype(file[name].dtype):
            file[name][1] = "other"
        else:
            data = file[name][:]
            data.view("u1").ravel()[-1] ^= 1
            file[name][...] = data

    edit(store, change)
    assert told(store, f"the data of {name} do not match their checksum")
    assert "cannot be used" in refused(store)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["features", "pixels", "label", "sha256", "size", "mtime_ns"])
def test_a_byte_flipped_on_disk_is_found(store, name):
    with h5py.File(store) as file:
        start, size = file[name].id.get_offset(), file[name].nbytes
    for at in {start, start + size // 2, start + size - 1}:
        sound = store.read_bytes()
        damaged = bytearray(sound)
        damaged[at] ^= 0x10
        store.write_bytes(damaged)
        assert told(store, f"the data of {name} do not match their checksum")
        store.write_bytes(sound)
    assert verify(store) == []


@pytest.mark.cases(4)
@pytest.mark.slow
@pytest.mark.parametrize("name", [*DATASETS, *FAILURES, "classes"])
def test_a_missing_checksum_is_a_defect_but_no_reason_not_to_read(store, name):
    def change(file):
        sums = json.loads(file.attrs["checksums"])
        del sums[name]
        file.attrs["checksums"] = json.dumps(sums)

    assert verify(edit(store, change)) == [f"{name} has no checksum"]
    assert len(read(store).path) == 6


def test_links_are_not_followed(store, tmp_path):
    """Opening a FIFO would wait for a writer forever."""
    os.mkfifo(tmp_path / "fifo")

    def change(file):
        del file["size"], file["failures"]
        file["size"] = h5py.ExternalLink(str(tmp_path / "fifo"), "/x")
        file["failures"] = h5py.SoftLink("/size")

    edit(store, change)
    assert verify(store) == ["size is a link to elsewhere", "failures is a link to elsewhere"]


# Files that are no stores


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500), b"PK" * 999]
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "s.h5"
    path.write_bytes(content)
    assert "is not a readable feature store" in refused(path)
    with pytest.raises(StoreError, match="is not a readable feature store"):
        verify(path)


def test_an_empty_hdf5_file_is_no_store(tmp_path):
    h5py.File(tmp_path / "s.h5", "w").close()
    assert "no feature store" in refused(tmp_path / "s.h5")


@pytest.mark.parametrize("name", ["none.h5", ".", "fifo", "file/s.h5", "line\nbreak", "x" * 300])
def test_a_place_without_a_store_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StoreError) as caught:
        read(tmp_path / name)
    assert str(caught.value).isprintable()


@pytest.mark.slow
def test_a_truncated_store_is_refused_at_any_length(store):
    whole = store.read_bytes()
    end = len(whole) - SEAL  # a store without its seal is still a store
    for length in [*range(0, end - 1, 97), *range(end - 40, end)]:
        os.truncate(store, length)
        refused(store)
        with pytest.raises(StoreError):
            verify(store)
        store.write_bytes(whole)
    assert verify(store) == []


# opened


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyError, ValueError, TypeError])
def test_what_reading_raises_becomes_one_line(store, error):
    def fail() -> None:
        with opened(store):
            raise error("what\nHDF5 says")

    with pytest.raises(StoreError) as caught:
        fail()
    assert str(caught.value).startswith(f"{store} is not a readable feature store: ")
    assert str(caught.value).isprintable()
    shutil.move(store, store.with_name("moved.h5"))  # nothing holds it
