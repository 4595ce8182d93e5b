"""HDF5 files of images."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from headstart import datasets as sources
from headstart.core.errors import InputError
from headstart.core.records import Preprocess
from headstart.datasets import Options, check_labels, images, open_source
from image_files import (
    contents,
    photo,
    refused,
    rows,
)


class TestArrays:
    def write(self, path: Path, **datasets: object) -> Path:
        with h5py.File(path, "w") as file:
            for name, value in datasets.items():
                file[name] = value
        return path

    @pytest.mark.parametrize("shape", [(5, 9, 7), (5, 9, 7, 1), (5, 9, 7, 3), (5, 3, 9, 7)])
    def test_pixels_are_what_the_decoder_sees(self, tmp_path: Path, shape: tuple[int, ...]):
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        path = self.write(tmp_path / "x.h5", images=pixels, labels=[0, 1, 0, 1, 1])
        listing = open_source(str(path))
        assert [label for _, label, _ in rows(listing)] == ["0", "1", "0", "1", "1"]
        data, _ = sources.read(listing, listing.images[2])
        seen = images.decode(data, Preprocess((9, 7), (9, 7), "nearest", images.POLICY))
        wanted = pixels[2]
        if wanted.ndim == 2:
            wanted = wanted[:, :, np.newaxis]
        if wanted.shape[0] == 3:
            wanted = np.moveaxis(wanted, 0, -1)
        assert np.array_equal(seen, np.broadcast_to(wanted, (9, 7, 3)))
        assert sources.read(listing, listing.images[2])[0] == data

    def test_bytes_of_files_with_class_names_and_splits(self, tmp_path: Path):
        with h5py.File(tmp_path / "x.hdf5", "w") as file:
            kind = h5py.vlen_dtype(np.uint8)
            data = file.create_dataset("data", (3,), kind)
            for k in range(3):
                data[k] = np.frombuffer(photo(k), np.uint8)
            file["y"] = np.array([[0], [1], [1]])
            file["split"] = ["train", "test", ""]
            file.attrs["classes"] = ["katze", "hund"]
        listing = open_source(str(tmp_path / "x.hdf5"))
        assert sorted(rows(listing)) == [
            ("0", "katze", "train"),
            ("1", "hund", "test"),
            ("2", "hund", ""),
        ]
        assert contents(listing) == {str(k): photo(k) for k in range(3)}

    def test_what_cannot_be_used(self, tmp_path: Path):
        assert "no data set" in refused(self.write(tmp_path / "a.h5", x=np.zeros((2, 4))))
        wrong = self.write(tmp_path / "b.h5", images=np.zeros((2, 4, 4), np.uint8), labels=[1])
        assert "2 images need one value each" in refused(wrong)
        with h5py.File(tmp_path / "c.h5", "w") as file:
            file.attrs["format"] = "headstart-features"
        assert "train-heads" in refused(tmp_path / "c.h5")
        (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(20)))
        assert "cannot read" in refused(tmp_path / "d.h5")

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [
            ([0, 1, -1, 1], ["0", "1", None, "1"]),
            ([-1, 1, -1, 1], ["-1", "1", "-1", "1"]),
            ([True, False, True, True], ["true", "false", "true", "true"]),
            (["x", "-1", "y", "x"], ["x", "-1", "y", "x"]),
        ],
    )
    def test_labels_of_all_types(self, tmp_path: Path, labels, classes):
        pixels = np.zeros((4, 8, 8), np.uint8)
        path = self.write(tmp_path / "x.h5", images=pixels, labels=labels)
        assert [label for _, label, _ in rows(open_source(str(path)))] == classes

    def test_text_in_other_encodings_is_refused_by_row(self, tmp_path: Path):
        pixels = np.zeros((2, 8, 8), np.uint8)
        latin = np.array(["Ä".encode("latin-1"), "Ö".encode("latin-1")], "S4")
        path = self.write(tmp_path / "x.h5", images=pixels, labels=latin)
        assert "row 0" in refused(path)
        path = self.write(tmp_path / "y.h5", images=pixels, labels=[0, 1])
        with h5py.File(path, "a") as file:
            file["labels"].attrs["classes"] = latin
        assert "attribute classes" in refused(path)

    def test_a_column_of_labels_can_be_named(self, tmp_path: Path):
        pixels = np.zeros((2, 8, 8), np.uint8)
        path = self.write(tmp_path / "x.h5", images=pixels, fine_label=[1, 2], coarse_label=[0, 0])
        with pytest.raises(InputError, match=r"coarse_label, fine_label.*--label-column"):
            check_labels(open_source(str(path)))
        assert open_source(str(path), Options(label_column="fine_label")).classes == ("1", "2")

    def test_a_column_of_paths_is_refused(self, tmp_path: Path):
        path = self.write(tmp_path / "x.h5", images=np.zeros((2, 8, 8), np.uint8), labels=[0, 1])
        with pytest.raises(InputError, match="--path-column"):
            open_source(str(path), Options(path_column="labels"))

    def test_the_named_column_has_its_own_class_names(self, tmp_path: Path):
        pixels = np.zeros((2, 8, 8), np.uint8)
        path = self.write(tmp_path / "x.h5", images=pixels, labels=[0, 0], fine=[0, 1], top=[1, 0])
        with h5py.File(path, "a") as file:
            file["labels"].attrs["classes"] = ["animal", "plant"]
            file["fine"].attrs["classes"] = ["cat", "dog"]
        assert open_source(str(path)).classes == ("animal",)
        assert open_source(str(path), Options(label_column="fine")).classes == ("cat", "dog")
        assert open_source(str(path), Options(label_column="top")).classes == ("0", "1")

    def test_the_type_of_what_is_no_image_is_named(self, tmp_path: Path):
        path = self.write(tmp_path / "x.h5", images=np.zeros((2, 8, 8, 3), np.float32))
        assert "float32" in refused(path)


class TestSeveralLabels:
    def write(self, path: Path, labels: object, names: object = ("cat", "dog|pup", "sea")) -> str:
        with h5py.File(path, "w") as file:
            file["images"] = np.zeros((4, 8, 8, 3), np.uint8)
            file["labels"] = np.array(labels)
            file["split"] = ["train", "train", "test", "test"]
            file.attrs["classes"] = list(names)
        return str(path)

    def test_columns_are_labels(self, tmp_path: Path):
        path = self.write(tmp_path / "x.h5", [[1, 1, 0], [0, 0, 0], [-1, 1, 0], [0, 1, 0]])
        listing = open_source(path)
        assert listing.target == "multi-label"
        assert listing.classes == ("cat", "dog|pup", "sea")
        sets = [ref.labels for ref in listing.images]
        assert sets[0] == (("cat", "dog|pup"), ())
        assert sets[1] == ((), ())
        assert sets[2] == (("dog|pup",), ("cat",))
        assert [ref.split for ref in listing.images] == ["train", "train", "test", "test"]

    @pytest.mark.parametrize(
        ("labels", "names", "text"),
        [
            ([[2, 0], [0, 1], [1, 1], [0, 0]], ("a", "b"), "must be 1, 0"),
            ([[1, 0], [0, 1], [1, 1], [0, 0]], ("a", "a"), "name each label once"),
            ([[1, 0], [0, 1], [1, 1], [0, 0]], ("a",), "name each label once"),
            ([[1, 0], [0, 1], [1, 0], [0, 1]], ("a", "b"), "exactly one 1"),
        ],
    )
    def test_what_is_no_table_of_labels_is_one_line(self, tmp_path: Path, labels, names, text):
        with pytest.raises(InputError, match=text):
            open_source(self.write(tmp_path / "x.h5", labels, names))

    def test_one_label_each_is_taken_if_the_user_says_so(self, tmp_path: Path):
        path = self.write(tmp_path / "x.h5", [[1, 0], [0, 1], [1, 0], [0, 1]], ("a", "b"))
        listing = open_source(path, Options(target="multi-label"))
        assert [ref.labels.present for ref in listing.images] == [("a",), ("b",), ("a",), ("b",)]
