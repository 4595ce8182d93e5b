"""Tables of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headstart import datasets as sources
from headstart.core.errors import ImageError, InputError
from headstart.datasets import Options, check_labels, open_source
from image_files import (
    PHOTOS,
    arrow,
    contents,
    folder,
    photo,
    refused,
    rows,
)


class TestParquet:
    def test_rows_with_class_names(self, tmp_path: Path):
        pq.write_table(arrow(), tmp_path / "x.parquet", row_group_size=3)
        listing = open_source(str(tmp_path / "x.parquet"))
        assert rows(listing)[:2] == [("000000/0.png", "cat", ""), ("000001/1.png", "dog", "")]
        assert list(contents(listing).values()) == [photo(k) for k in range(8)]
        state = sources.state(listing, listing.images[0])
        assert state == sources.read(listing, listing.images[0])[1]

    def test_rows_in_any_order_from_any_group(self, tmp_path: Path):
        table = pa.table({"jpg": [photo(k, 4) for k in range(300)]})
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=70)
        listing = open_source(str(tmp_path / "x.parquet"))
        for k in [*np.random.default_rng(0).permutation(300)[:80], 0, 299, 299, 5]:
            assert sources.read(listing, listing.images[k])[0] == photo(int(k), 4)

    def test_files_of_splits(self, tmp_path: Path):
        for split in ("train", "test"):
            (tmp_path / "data").mkdir(exist_ok=True)
            pq.write_table(arrow(), tmp_path / "data" / f"{split}-00000-of-00001.parquet")
        listing = open_source(str(tmp_path))
        assert [sum(ref.split == s for ref in listing.images) for s in ("train", "test")] == [8, 8]
        assert listing.images[0].path == "data/train-00000-of-00001.parquet/000000/0.png"

    def test_labels_without_names_texts_and_none(self, tmp_path: Path):
        pq.write_table(arrow(names=False, n=3, label=[3, None, 1]), tmp_path / "x.parquet")
        assert [label for _, label, _ in rows(open_source(str(tmp_path / "x.parquet")))] == [
            "3",
            None,
            "1",
        ]
        table = pa.table({"bytes": [photo(1)], "Class": ["ネコ"], "split": ["val"]})
        pq.write_table(table, tmp_path / "x.parquet")
        assert rows(open_source(str(tmp_path / "x.parquet"))) == [("000000", "ネコ", "validation")]

    def test_paths_are_files_beside_the_table(self, tmp_path: Path):
        folder(tmp_path)
        pq.write_table(
            pa.table({"file_name": [*PHOTOS], "label": [name[0] for name in PHOTOS]}),
            tmp_path / "x.parquet",
        )
        listing = open_source(str(tmp_path / "x.parquet"))
        assert contents(listing) == PHOTOS
        assert listing.classes == ("a", "b")
        pq.write_table(pa.table({"path": ["no.png"]}), tmp_path / "x.parquet")
        assert "none of the 1 files" in refused(tmp_path / "x.parquet")

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"x": [1]}, "no column"),
            ({"image": [b"1"], "label": [[0.5]]}, "neither text nor"),
            ({"image": [b"1"], "label": [{"name": 1}]}, "neither text nor"),
            ({"image": [b"1"], "label": [0.5]}, "neither text nor"),
            ({"image": [b"1"], "split": ["later"]}, "not a split"),
            ({"image": pa.array([], pa.binary())}, "no rows"),
        ],
    )
    def test_tables_that_cannot_be_used(self, tmp_path: Path, table, message: str):
        pq.write_table(pa.table(table), tmp_path / "x.parquet")
        assert message in refused(tmp_path / "x.parquet")

    def test_a_label_beyond_the_names(self, tmp_path: Path):
        pq.write_table(arrow(n=2, label=[0, 7]), tmp_path / "x.parquet")
        assert "row 1: the label 7 has no name" in refused(tmp_path / "x.parquet")

    def test_damage_and_rows_without_bytes(self, tmp_path: Path):
        (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing PAR1")
        assert "damaged" in refused(tmp_path / "x.parquet")
        pq.write_table(pa.table({"image": [photo(1), None]}), tmp_path / "y.parquet")
        listing = open_source(str(tmp_path / "y.parquet"))
        with pytest.raises(ImageError, match="no bytes"):
            sources.read(listing, listing.images[1])

    def test_columns_can_be_named(self, tmp_path: Path):
        table = {"shot": [photo(1), photo(2)], "thumb": [photo(3)] * 2, "fine_label": [1, 2]}
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table(table | {"coarse_label": ["a", "b"]}), path)
        assert "--path-column" in refused(path)
        listing = open_source(str(path), Options(path_column="shot"))
        assert next(iter(contents(listing).values())) == photo(1)
        with pytest.raises(InputError, match=r"fine_label, coarse_label: .*--label-column"):
            check_labels(listing)
        named = open_source(str(path), Options(path_column="shot", label_column="coarse_label"))
        assert named.classes == ("a", "b")
        with pytest.raises(InputError, match="no column nothing"):
            open_source(str(path), Options(path_column="shot", label_column="nothing"))

    def test_minus_one_marks_images_without_a_label(self, tmp_path: Path):
        for name, labels in (("x", [0, 1, -1]), ("y", ["0", "1", "-1"])):
            table = pa.table({"image": [photo(n) for n in range(3)], "label": labels})
            pq.write_table(table, tmp_path / f"{name}.parquet")
        assert open_source(str(tmp_path / "x.parquet")).classes == ("0", "1")
        assert open_source(str(tmp_path / "y.parquet")).classes == ("0", "1", "-1")

    def test_columns_that_are_no_labels_are_only_mentioned(self, tmp_path: Path):
        table = pa.table({"image": [photo(n) for n in range(2)], "caption": ["a", "b"]})
        pq.write_table(table, tmp_path / "x.parquet")
        listing = open_source(str(tmp_path / "x.parquet"))
        check_labels(listing)
        assert "caption" in listing.remarks[0]
