"""Folders with metadata.csv or metadata.jsonl."""

from __future__ import annotations

from pathlib import Path

import pytest
from headstart.datasets import open_source
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
            ("{", "line 1: not JSON"),
            ('{"file_name": "a/0.png", "label": "x"}\n{"file_name": "a/0.png"}', "twice"),
            ('{"file_name": "zz.png"}', "none of the 1 images"),
        ],
    )
    def test_contradictions(self, tmp_path: Path, text: str, message: str):
        folder(tmp_path)
        (tmp_path / "metadata.jsonl").write_text(text)
        assert message in refused(tmp_path)

    def test_two_descriptions(self, tmp_path: Path):
        folder(tmp_path)
        for name in ("metadata.csv", "metadata.jsonl"):
            (tmp_path / name).write_text("")
        assert "has both" in refused(tmp_path)
