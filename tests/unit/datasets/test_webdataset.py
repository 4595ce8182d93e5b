"""Shards of a WebDataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from headstart.datasets import open_source
from image_files import (
    PHOTOS,
    contents,
    photo,
    refused,
    rows,
    tar,
    wds,
)


class TestWebDataset:
    def test_companions_say_the_class(self, tmp_path: Path):
        listing = open_source(str(tar(tmp_path / "x.tar", wds())))
        assert [label for _, label, _ in rows(listing)] == list("aaaabbbb")
        assert list(contents(listing).values()) == list(PHOTOS.values())

    def test_json_says_the_class_and_other_companions_are_passed_over(self, tmp_path: Path):
        files = {
            "x/1.jpg": photo(1),
            "x/1.json": json.dumps({"caption": "?", "label": "cat"}).encode(),
            "x/1.txt": b"a cat",
            "x/1.seg.png": photo(2),
            "x/2.jpg": photo(3),
            "x/2.json": b'{"caption": "none"}',
        }
        listing = open_source(str(tar(tmp_path / "x.tar", files)))
        assert rows(listing) == [("x/1.jpg", "cat", ""), ("x/2.jpg", None, "")]

    def test_numbers_are_looked_up_beside_the_shards(self, tmp_path: Path):
        files = {
            f"{n}.{what}": data
            for n in range(2)
            for what, data in (("png", photo(n)), ("cls", str(n).encode()))
        }
        tar(tmp_path / "0.tar", files)
        assert open_source(str(tmp_path)).classes == ("0", "1")
        (tmp_path / "classnames.txt").write_text("tabby cat\ndog\n")
        assert open_source(str(tmp_path)).classes == ("dog", "tabby cat")
        (tmp_path / "classnames.txt").write_text("tabby cat\n")
        assert "has 1 class names" in refused(tmp_path)

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            (["0.png", "1.png", "0.cls", "1.cls"], "are not adjacent"),
            (["0.png", "0.cls", "1.png", "1.cls", "0.png", "0.cls"], "twice"),
            (["0.png", "0.jpg", "0.cls"], "several images"),
        ],
    )
    def test_samples_in_pieces_or_twice_are_errors(self, tmp_path: Path, members, message: str):
        files = [(name, photo(1) if name.endswith("g") else b"x") for name in members]
        assert message in refused(tar(tmp_path / "x.tar", files))

    def test_a_companion_that_is_no_label_is_named(self, tmp_path: Path):
        files = {"0.png": photo(1), "0.json": b"{"}
        assert "0.json is not JSON" in refused(tar(tmp_path / "x.tar", files))
        files = {"0.png": photo(1), "0.cls": b"\xff\xfe"}
        assert "0.cls is not a label" in refused(tar(tmp_path / "x.tar", files))
