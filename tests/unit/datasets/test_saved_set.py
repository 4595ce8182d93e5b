"""Folders that Hugging Face's datasets saved."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from headstart.datasets import open_source
from image_files import (
    FEATURES,
    arrow,
    contents,
    photo,
    refused,
    rows,
)


class TestSavedSets:
    def save(self, root: Path, table: pa.Table, **state: object) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        with pa.ipc.new_stream(str(root / "data-00000-of-00001.arrow"), table.schema) as out:
            out.write_table(table, max_chunksize=3)
        files = [{"filename": "data-00000-of-00001.arrow"}]
        (root / "state.json").write_text(json.dumps({"_data_files": files} | state))
        (root / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
        return root

    def test_one_set(self, tmp_path: Path):
        listing = open_source(str(self.save(tmp_path / "set", arrow(), _split="train")))
        assert rows(listing)[:2] == [
            ("000000/0.png", "cat", "train"),
            ("000001/1.png", "dog", "train"),
        ]
        assert list(contents(listing).values()) == [photo(k) for k in range(8)]

    def test_a_dictionary_of_sets(self, tmp_path: Path):
        for split in ("train", "test"):
            self.save(tmp_path / split, arrow(n=4))
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
        listing = open_source(str(tmp_path))
        assert [ref.split for ref in listing.images] == ["train"] * 4 + ["test"] * 4
        assert listing.classes == ("cat", "dog")

    def test_what_is_wrong_with_a_set(self, tmp_path: Path):
        root = self.save(tmp_path / "set", arrow(), _indices_data_files=[{"filename": "i.arrow"}])
        assert "flatten_indices" in refused(root)
        (root / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
        assert "outside its folder" in refused(root)
        (root / "state.json").write_text("{")
        assert "save the set again" in refused(root)
