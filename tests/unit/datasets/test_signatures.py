"""Files whose names say something else than their content."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headstart.datasets import signatures
from image_files import PHOTOS, photo, refused, tar, zipped

TABLE = b"path,label\n1.png,x\n"


def of_file(write, path: Path) -> bytes:
    write(path)
    return path.read_bytes()


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"image": [photo(1)], "label": ["x"]}), path)


def arrow(path: Path) -> None:
    table = pa.table({"label": ["x"]})
    with pa.ipc.new_file(str(path), table.schema) as out:
        out.write_table(table)


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 8, 8, 3), np.uint8)


def workbook(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")


def open_document(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")


CONTENTS = {  # content, and what is said of it
    "zip": (lambda path: zipped(path, PHOTOS), "a zip archive", "NAME.zip"),
    "tar": (lambda path: tar(path, PHOTOS), "a tar archive", "NAME.tar"),
    "parquet": (parquet, "Parquet", "NAME.parquet"),
    "arrow": (arrow, "Arrow", "NAME.arrow"),
    "hdf5": (hdf5, "HDF5", "NAME.h5"),
    "csv": (lambda path: path.write_bytes(TABLE), "text", "NAME.csv"),
    "xlsx": (workbook, "Excel", "save it as CSV"),
    "xls": (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(512)), "Excel", "CSV"),
    "ods": (open_document, "OpenDocument", "save it as CSV"),
    "json": (lambda path: path.write_text(json.dumps({"a": [1, 2]})), "JSON", "CSV"),
    "html": (lambda path: path.write_text("<!DOCTYPE html>\n<p>404</p>"), "HTML", "download"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(TABLE)), "gzip", "gunzip"),
    "pdf": (lambda path: path.write_bytes(b"%PDF-1.7\n%\xe2\xe3\n1 0 obj"), "PDF", "another file"),
    "png": (lambda path: path.write_bytes(photo(1)), "a PNG image", "another file"),
    "zeros": (lambda path: path.write_bytes(bytes(2048)), "only zeros", "copy it again"),
}
NAMES = {"zip": "zip", "tar": "tar", "parquet": "parquet", "arrow": "arrow", "hdf5": "h5"}
NAMES |= {"csv": "csv"}
ALSO = {("xlsx", "zip"), ("ods", "zip"), ("zeros", "tar")}  # archives without images


@pytest.mark.parametrize("name", NAMES.values())
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_of_another_kind_is_named_for_what_it_is(content, name, tmp_path):
    write, kind, remedy = CONTENTS[content]
    if NAMES.get(content) == name or (content, name) in ALSO:
        pytest.skip("the name is right")
    write(tmp_path / f"x.{name}")
    message = refused(tmp_path / f"x.{name}")
    assert kind in message
    assert remedy in message


@pytest.mark.parametrize("name", ["zip", "tar", "parquet", "arrow", "h5", "csv"])
def test_an_empty_file_is_said_to_be_empty(name, tmp_path):
    (tmp_path / f"x.{name}").touch()
    assert "empty" in refused(tmp_path / f"x.{name}")


@pytest.mark.parametrize("start", ["BM", "MZ", "ID3", "II", "P1", "OggS", "PK"])
def test_a_table_whose_header_begins_like_another_file_is_none(start, tmp_path):
    (tmp_path / "x.csv").write_bytes(f"{start},path,label\n1,cat.png,caf\u00e9\n".encode("latin-1"))
    assert "not UTF-8" in refused(tmp_path / "x.csv")


def test_a_damaged_file_of_the_right_kind_is_not_called_another(tmp_path):
    content = zipped(tmp_path / "x.zip", PHOTOS).read_bytes()
    (tmp_path / "x.zip").write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(tmp_path / "x.zip")
    assert signatures.mistaken(io.BytesIO(content).read(100), signatures.ZIP) == ""
