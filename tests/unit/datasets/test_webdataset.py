"""Shards of a WebDataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from headstart.core.errors import InputError
from headstart.datasets import Options, check_labels, open_source
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

    def test_keys_end_at_the_first_dot_and_what_that_costs_is_said(self, tmp_path: Path):
        dotted = {f"{n}.05.{end}": data for n in "12" for end, data in
                  (("png", photo(int(n))), ("cls", b"x"))}  # fmt: skip
        listing = open_source(str(tar(tmp_path / "x.tar", dotted)))
        with pytest.raises(InputError, match=r"2 files \.cls .* first dot"):
            check_labels(listing)
        inner = {"1.image.png": photo(1), "1.cls": b"x"}
        assert "first dot" in refused(tar(tmp_path / "z.tar", inner))
        among = open_source(str(tar(tmp_path / "y.tar", wds() | dotted)))
        (remark,) = among.remarks
        assert "4 files" in remark
        assert "1.05.png" in remark
        assert len(among.images) == len(PHOTOS)

    @pytest.mark.parametrize("ends", [("input.png", "target.cls"), ("png", "txt"), ("png", "id")])
    def test_labels_that_are_passed_over_are_an_error(self, tmp_path: Path, ends):
        files = {f"{key}.{end}": photo(1) for key in "ab" for end in ends}
        with pytest.raises(InputError, match=f"2 files .{ends[1].split('.')[-1]}"):
            check_labels(open_source(str(tar(tmp_path / "x.tar", files))))

    def test_an_extension_or_field_can_be_named(self, tmp_path: Path):
        files = {
            **{"1.png": photo(1), "1.json": b'{"fine": "tabby", "label": 3}', "1.txt": b"cat"},
            **{"2.png": photo(2), "2.json": b'{"fine": "pug", "label": 4}', "2.txt": b"dog"},
        }
        place = str(tar(tmp_path / "x.tar", files))
        assert open_source(place).classes == ("3", "4")
        assert open_source(place, Options(label_column="fine")).classes == ("pug", "tabby")
        assert open_source(place, Options(label_column="txt")).classes == ("cat", "dog")
        with pytest.raises(InputError, match="--path-column"):
            open_source(place, Options(path_column="fine"))

    @pytest.mark.parametrize("name", ["fien", "clss"])
    def test_a_name_that_no_sample_has_does_not_leave_the_folders(self, tmp_path: Path, name):
        files = {f"{key}/1.{end}": data for key in ("cat", "dog") for end, data in
                 (("png", photo(1)), ("json", b'{"fine": "x"}'), ("cls", b"y"))}  # fmt: skip
        listing = open_source(str(tar(tmp_path / "x.tar", files)), Options(label_column=name))
        assert listing.classes == ()
        with pytest.raises(InputError, match=f"no sample has a label {name}"):
            check_labels(listing)

    def test_fields_that_sound_like_labels_are_named(self, tmp_path: Path):
        files = {"1.png": photo(1), "1.json": b'{"fine_label": 3}'}
        listing = open_source(str(tar(tmp_path / "x.tar", files)))
        with pytest.raises(InputError, match=r"fine_label: .*--label-column"):
            check_labels(listing)
        check_labels(
            open_source(str(tar(tmp_path / "y.tar", files | {"1.json": b'{"text": "?"}'})))
        )
