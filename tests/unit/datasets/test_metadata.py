"""Folders with metadata.csv or metadata.jsonl."""

from __future__ import annotations

from pathlib import Path

import pytest
from headstart.core.errors import InputError
from headstart.datasets import Options, check_labels, open_source
from image_files import (
    PHOTOS,
    folder,
    photo,
    refused,
    rows,
)


class TestMetadata:
    def test_csv_and_jsonl_with_labels_and_splits(self, tmp_path: Path):
        folder(tmp_path, {f"train/{n}.png": photo(n) for n in range(3)})
        folder(tmp_path, {f"test/{n}.png": photo(n) for n in range(2)})
        (tmp_path / "train/metadata.csv").write_text("file_name,label\n0.png,x\n1.png,y\n")
        (tmp_path / "test/metadata.jsonl").write_text(
            '{"file_name": "0.png", "label": 1, "text": "?"}\n\n{"file_name": "1.png"}\n'
        )
        listing = open_source(str(tmp_path))
        assert rows(listing) == [
            ("train/0.png", "x", "train"),
            ("train/1.png", "y", "train"),
            ("test/0.png", "1", "test"),
            ("test/1.png", None, "test"),
        ]
        assert listing.ignored["not described"] == 1

    def test_folders_say_the_label_where_it_does_not(self, tmp_path: Path):
        folder(tmp_path)
        lines = "".join(f"{name},,val\n" for name in PHOTOS)
        (tmp_path / "metadata.csv").write_text(f"file_name,caption,split\n{lines}")
        listing = open_source(str(tmp_path))
        assert {(ref.label, ref.split) for ref in listing.images} == {
            ("a", "validation"),
            ("b", "validation"),
        }

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"file_name": "../x.png"}', "not a file in this folder"),
            ('{"file_name": "/x.png"}', "not a file in this folder"),
            ('{"name": "x.png"}', "expected an object with file_name"),
            ("{", "line 2: not JSON"),
            ('{"file_name": "a/0.png", "label": "x"}', "twice"),
            ('{"file_name": "1\\u0000.jpg"}', "NUL"),
        ],
    )
    def test_contradictions(self, tmp_path: Path, text: str, message: str):
        folder(tmp_path)
        (tmp_path / "metadata.jsonl").write_text('{"file_name": "a/0.png"}\n' + text)
        assert message in refused(tmp_path)

    def test_two_descriptions(self, tmp_path: Path):
        folder(tmp_path)
        (tmp_path / "metadata.csv").write_text("file_name\na/0.png\n")
        (tmp_path / "metadata.jsonl").write_text('{"file_name": "a/0.png"}')
        assert "has both" in refused(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("metadata.csv", b"site,date,operator\nA,2020,x\n", "no column file_name"),
            ("metadata.csv", b"filename,finding\n0.png,x\n", "none of the images"),
            ("metadata.csv", b"file_name,label\nother/1.jpg,x\n", "other/1.jpg"),
            ("metadata.csv", b"image_id;label\n1;2\n", "no column file_name"),
            ("metadata.csv", b"filename,finding\na/0.png,x\n", "neither labels nor splits"),
            ("metadata.csv", b"", "is empty"),
            ("metadata.csv", b"\n\n", "is empty"),
            ("metadata.csv", "sité\n".encode("latin-1"), "not UTF-8"),
            ("metadata.csv", b"file_name\n", "names no images"),
            ("metadata.csv", b"\0\1\2", "metadata.csv"),
            ("metadata.jsonl", b'{"site": "A"}\n', "file_name"),
            ("metadata.jsonl", b'{"site":\n "A"}\n', "not JSON"),
            ("metadata.jsonl", b"[1]", "file_name"),
            ("metadata.jsonl", b"", "names no images"),
        ],
    )
    @pytest.mark.parametrize("below", ["", "train/"])
    def test_a_file_of_other_things_is_left_aside(
        self, below: str, name: str, content: bytes, reason: str, tmp_path: Path
    ):
        folder(tmp_path, {f"{below}{path}": data for path, data in PHOTOS.items()})
        (tmp_path / below / name).write_bytes(content)
        listing = open_source(str(tmp_path))
        assert len(listing.images) == len(PHOTOS)
        assert listing.classes == ("a", "b")
        (remark,) = listing.remarks
        assert f"{name} is not used" in remark
        assert reason in remark

    def test_without_class_folders_it_is_an_error(self, tmp_path: Path):
        folder(tmp_path, {"0.png": photo(0), "1.png": photo(1)})
        (tmp_path / "metadata.csv").write_text("id,label\n0,cat\n")
        with pytest.raises(InputError, match="rename it, or its column of file names to file_name"):
            check_labels(open_source(str(tmp_path)))

    def test_one_of_two_is_used(self, tmp_path: Path):
        folder(tmp_path)
        (tmp_path / "metadata.csv").write_text("site\nA\n")
        (tmp_path / "metadata.jsonl").write_text('{"file_name": "a/0.png", "label": "x"}')
        assert rows(open_source(str(tmp_path))) == [("a/0.png", "x", "")]

    def test_other_splits_keep_their_folders(self, tmp_path: Path):
        folder(tmp_path, {f"train/{n}.png": photo(n) for n in range(2)})
        folder(tmp_path, {"test/x/0.png": photo(3)})
        (tmp_path / "train/metadata.csv").write_text("file_name,label\n0.png,x\n1.png,y\n")
        assert ("test/x/0.png", "x", "test") in rows(open_source(str(tmp_path)))

    def test_columns_have_other_names(self, tmp_path: Path):
        folder(tmp_path)
        (tmp_path / "metadata.csv").write_text("Image;Category\na/0.png;x\nb/0.png;y\n")
        assert rows(open_source(str(tmp_path))) == [("a/0.png", "x", ""), ("b/0.png", "y", "")]
        (tmp_path / "metadata.csv").write_text("shot,fine\na/0.png,x\nb/0.png,y\n")
        listing = open_source(str(tmp_path), Options(path_column="shot", label_column="fine"))
        assert listing.classes == ("x", "y")
