"""Labels in any alphabet and encoding, from every kind of source: right, or refused in one line."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headstart import datasets
from headstart.core.errors import InputError
from headstart.core.targets import MULTI_LABEL
from headstart.features.store.columns import stored_name
from hypothesis import given
from hypothesis import strategies as st
from image_files import folder, photo, tar, zipped

PHOTO = photo(1)
SEVERAL = "several labels"
TEXTS = {
    "NUL": "a\0b",
    "lone surrogate": "a\ud800b",
    "raw byte": "\udce9",
    "NFC": "Café",
    "NFD": unicodedata.normalize("NFD", "Café"),
    "newline": "a\nb",
    "right to left": "سلام",
    "emoji": "👩\u200d🚀",
    "blanks": "a\u00a0 b",
}
LATIN_1 = "Ä".encode("latin-1")


def names(label: str | bytes) -> tuple[str, str]:
    """A path below a folder of this name, and one below another."""
    return f"{os.fsdecode(label) if isinstance(label, bytes) else label}/1.png", "other/1.png"


def in_folder(root: Path, label: str | bytes) -> object:
    return folder(root / "photos", dict.fromkeys(names(label), PHOTO))


def in_zip(root: Path, label: str | bytes) -> object:
    path = zipped(root / "x.zip", {name.replace("\0", "\1"): PHOTO for name in names(label)})
    if "\0" in names(label)[0]:  # zipfile writes none
        path.write_bytes(path.read_bytes().replace(b"a\1b", b"a\0b"))
    return path


def in_tar(root: Path, label: str | bytes) -> object:
    if "\0" in names(label)[0]:
        raise ValueError("a NUL ends names in a tar")
    return tar(root / "x.tar", dict.fromkeys(names(label), PHOTO))


def in_csv(root: Path, label: str | bytes) -> object:
    raw = encoded(label)
    folder(root, {"1.png": PHOTO, "2.png": PHOTO})
    content = b'path,label\n1.png,"' + raw + b'"\n2.png,other\n'
    (root / "x.csv").write_bytes(content)
    return root / "x.csv"


def in_utf16_csv(root: Path, label: str | bytes) -> object:
    text = label if isinstance(label, str) else label.decode("latin-1")
    folder(root, {"1.png": PHOTO, "2.png": PHOTO})
    content = f'path;label\n1.png;"{text}"\n2.png;other\n'
    (root / "x.csv").write_bytes(content.encode("utf-16", "surrogatepass"))
    return root / "x.csv"


def in_metadata(root: Path, label: str | bytes) -> object:
    if isinstance(label, bytes):
        line = b'{"file_name": "1.png", "label": "' + label + b'"}'
    else:
        line = json.dumps({"file_name": "1.png", "label": label}).encode()
    folder(root / "photos", {"1.png": PHOTO, "2.png": PHOTO})
    content = line + b'\n{"file_name": "2.png", "label": "other"}\n'
    (root / "photos" / "metadata.jsonl").write_bytes(content)
    return root / "photos"


def in_parquet(root: Path, label: str | bytes) -> object:
    cells = pa.array([encoded(label), b"other"], pa.binary())
    table = pa.table({"image": [PHOTO, PHOTO], "label": cells.view(pa.string())})
    pq.write_table(table, root / "x.parquet")
    return root / "x.parquet"


def in_hdf5(root: Path, label: str | bytes) -> object:
    with h5py.File(root / "x.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8, 3), np.uint8)
        file["labels"] = np.array([encoded(label), b"other"], "S32")
    return root / "x.h5"


def in_hdf5_names(root: Path, label: str | bytes) -> object:
    with h5py.File(root / "x.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8, 3), np.uint8)
        file["labels"] = [0, 1]
        file["labels"].attrs["classes"] = np.array([encoded(label), b"other"], "S32")
    return root / "x.h5"


def in_cls(root: Path, label: str | bytes) -> object:
    return tar(root / "x.tar", {"1.png": PHOTO, "1.cls": encoded(label), "2.png": PHOTO,
                                "2.cls": b"other"})  # fmt: skip


def in_json(root: Path, label: str | bytes) -> object:
    raw = label if isinstance(label, bytes) else json.dumps(label)[1:-1].encode()
    files = {"1.png": PHOTO, "1.json": b'{"label": "' + raw + b'"}'}
    return tar(root / "x.tar", files | {"2.png": PHOTO, "2.json": b'{"label": "other"}'})


def in_bucket(root: Path, label: str | bytes) -> object:
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name in names(label):
        system.pipe(f"/texts/{name}", PHOTO)
    return "memory://texts"


def encoded(label: str | bytes) -> bytes:
    return label if isinstance(label, bytes) else label.encode("utf-8", "surrogatepass")


SOURCES: dict[str, Callable[[Path, str | bytes], object]] = {
    function.__name__.removeprefix("in_"): function
    for function in (
        *(in_folder, in_zip, in_tar, in_csv, in_utf16_csv, in_metadata, in_parquet),
        *(in_hdf5, in_hdf5_names, in_cls, in_json, in_bucket),
    )
}
# Where a name belongs to a file system, its bytes need not be UTF-8.
FILE_NAMES = ("folder", "tar", "bucket")


def check(build: Callable[[Path, str | bytes], object], root: Path, label: str | bytes) -> str:
    """Build a source, and return the class that the label became, or how it was refused."""
    try:
        source = build(root, label)
    except (ValueError, OSError, pa.ArrowInvalid):
        return "impossible"  # this kind of source cannot hold such a text
    try:
        listing = datasets.open_source(str(source))
        datasets.check_labels(listing)
    except InputError as error:
        return f"refused: {error}" if str(error).isprintable() else "several lines"
    assert len(listing.images) == 2
    if listing.target == MULTI_LABEL:
        return SEVERAL
    name = next(iter(set(listing.classes) - {"other"}), "")
    for text in (name, *(image.path for image in listing.images)):
        stored_name(text).encode()  # what a store can keep
        assert "\0" not in text
    return name


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_label_is_right_or_refused(kind, case, tmp_path):
    label = TEXTS[case]
    result = check(SOURCES[kind], tmp_path, label)
    if result == "impossible":
        assert case in ("NUL", "lone surrogate", "raw byte", "newline")
        return
    if case in ("NUL", "lone surrogate"):
        assert result.startswith("refused: ")
        return
    if case == "raw byte":
        assert result.startswith("refused: ") or kind in FILE_NAMES
        return
    if kind == "cls" and case == "newline":  # each line is a label
        assert result == SEVERAL
        return
    assert result == unicodedata.normalize("NFC", label)


@pytest.mark.parametrize("kind", SOURCES)
def test_latin_1_is_told_from_utf_8(kind, tmp_path):
    if kind in ("zip", "utf16_csv"):
        pytest.skip("its writer encodes names itself")
    result = check(SOURCES[kind], tmp_path, LATIN_1)
    if kind in FILE_NAMES:
        assert result == os.fsdecode(LATIN_1)
        return
    assert result.startswith("refused: ")
    assert "UTF-8" in result


@given(text=st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=6))
@pytest.mark.parametrize("kind", ["csv", "metadata", "cls", "json", "hdf5", "parquet"])
def test_any_text_is_a_label_or_refused(kind, text, tmp_path_factory):
    label = text.replace('"', "'")
    result = check(SOURCES[kind], tmp_path_factory.mktemp(kind), label)
    surrogates = any(0xD800 <= ord(char) <= 0xDFFF for char in label)
    if surrogates:
        assert result == "impossible" or result.startswith("refused: ")
    elif kind == "cls" and len(re.split(r"[\r\n]+", label.strip())) > 1:
        assert result == SEVERAL
    elif label.strip() and label.strip() != "other" and result != "impossible":
        assert result == unicodedata.normalize("NFC", label.strip())
