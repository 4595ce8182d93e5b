"""Sources whose images are no files of their own: archives, tables, arrays, what is behind URLs."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headstart import datasets as sources
from headstart.core.errors import ImageError, InputError
from headstart.core.records import Listing, Preprocess
from headstart.datasets import images, open_source
from hypothesis import given
from hypothesis import strategies as st


def photo(seed: int, side: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return images.encode(pixels, "PNG")


PHOTOS = {f"{label}/{n}.png": photo(10 * at + n) for at, label in enumerate("ab") for n in range(4)}


def rows(listing: Listing) -> list[tuple[str, str | None, str]]:
    return [(image.path, image.label, image.split) for image in listing.images]


def contents(listing: Listing) -> dict[str, bytes]:
    return {ref.path: sources.read(listing, ref)[0] for ref in listing.images}


def refused(data: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(data))
    message = str(caught.value)
    assert message.isprintable()  # one line
    return message


def tar(path: Path, files: Mapping[str, bytes] | list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, files: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folder(root: Path, files: Mapping[str, bytes] = PHOTOS) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def wds(files: Mapping[str, bytes] = PHOTOS, **extra: bytes) -> dict[str, bytes]:
    """A WebDataset's members: keys in order, each with its image and class."""
    members: dict[str, bytes] = {}
    for number, (name, data) in enumerate(files.items()):
        members[f"{number:04d}.png"] = data
        members[f"{number:04d}.cls"] = name[0].encode()
    return members | extra


class TestArchives:
    @pytest.mark.parametrize("kind", ["tar", "zip", "stored.zip"])
    def test_one_archive_is_the_folder_in_it(self, tmp_path: Path, kind: str):
        plain = open_source(str(folder(tmp_path / "plain")))
        if kind == "tar":
            packed = tar(tmp_path / "x.tar", PHOTOS)
        else:
            how = zipfile.ZIP_STORED if kind.startswith("stored") else zipfile.ZIP_DEFLATED
            packed = zipped(tmp_path / "x.zip", PHOTOS, how)
        listing = open_source(str(packed))
        assert rows(listing) == rows(plain)
        assert listing.classes == plain.classes
        assert contents(listing) == contents(plain) == PHOTOS

    @pytest.mark.parametrize("write", [tar, zipped])
    def test_a_top_folder_that_holds_everything_is_no_class(self, tmp_path: Path, write):
        files = {f"./photos/{name}": data for name, data in PHOTOS.items()}
        files["__MACOSX/photos/a/._0.png"] = b"x"
        packed = write(tmp_path / ("x.tar" if write is tar else "x.zip"), files)
        listing = open_source(str(packed))
        assert contents(listing) == PHOTOS
        assert listing.classes == ("a", "b")

    def test_split_folders_in_an_archive_are_splits(self, tmp_path: Path):
        files = {f"{split}/{k}": v for split in ("train", "test") for k, v in PHOTOS.items()}
        listing = open_source(str(zipped(tmp_path / "x.zip", files)))
        assert {(image.label, image.split) for image in listing.images} == {
            (label, split) for label in "ab" for split in ("train", "test")
        }

    def test_several_archives_are_told_apart_and_their_names_say_the_split(self, tmp_path: Path):
        tar(tmp_path / "train-000.tar", PHOTOS)
        tar(tmp_path / "test-000.tar", PHOTOS)
        listing = open_source(str(tmp_path))
        assert len(listing.images) == 16
        assert ("train-000.tar/a/0.png", "a", "train") in rows(listing)
        assert ("test-000.tar/a/0.png", "a", "test") in rows(listing)
        assert contents(listing)["test-000.tar/b/3.png"] == PHOTOS["b/3.png"]
        pattern = open_source(str(tmp_path / "{train,test}-{000..000}.tar"))
        assert rows(pattern) == rows(listing) == rows(open_source(str(tmp_path / "*.tar")))

    def test_a_shard_that_a_pattern_names_must_be_there(self, tmp_path: Path):
        tar(tmp_path / "0.tar", PHOTOS)
        assert "there is no" in refused(tmp_path / "{0..1}.tar")
        assert "no file matches" in refused(tmp_path / "*.zip")
        assert "not a range" in refused(tmp_path / "{5..1}.tar")

    @pytest.mark.parametrize(
        "name", ["../x.png", "/etc/x.png", "a/../../x.png", "C:/x.png", "..\\x.png"]
    )
    @pytest.mark.parametrize("write", [tar, zipped])
    def test_names_that_lead_out_are_refused(self, tmp_path: Path, name: str, write):
        packed = write(tmp_path / ("x.tar" if write is tar else "x.zip"), PHOTOS | {name: photo(1)})
        assert "outside of its folder" in refused(packed)

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    )
    def test_a_tar_with_links_or_devices_is_refused(self, tmp_path: Path, kind: bytes):
        path = tar(tmp_path / "x.tar", PHOTOS)
        with tarfile.open(path, "a") as archive:
            info = tarfile.TarInfo("a/9.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        assert "is refused" in refused(path)

    def test_a_zip_with_a_link_is_refused(self, tmp_path: Path):
        path = zipped(tmp_path / "x.zip", PHOTOS)
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo("a/9.png")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
        assert "link" in refused(path)

    def test_a_bomb_is_refused(self, tmp_path: Path):
        assert "no image does" in refused(
            zipped(tmp_path / "x.zip", PHOTOS | {"a/9.bmp": bytes(20 << 20)})
        )

    def test_entries_that_share_bytes_are_refused(self, tmp_path: Path):
        path = zipped(tmp_path / "x.zip", {"a/0.png": photo(0), "a/1.png": photo(0)})
        data = bytearray(path.read_bytes())
        second = data.rindex(b"PK\x01\x02")
        data[second + 42 : second + 46] = struct.pack("<I", 0)  # it begins where the first does
        path.write_bytes(data)
        assert "share bytes" in refused(path)

    @pytest.mark.parametrize("write", [tar, zipped])
    def test_a_name_that_is_there_twice_is_refused(self, tmp_path: Path, write):
        if write is tar:
            path = tar(tmp_path / "x.tar", [*PHOTOS.items(), ("a/0.png", photo(99))])
        else:
            path = zipped(tmp_path / "x.zip", PHOTOS)
            with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Dupl"):
                archive.writestr("a/0.png", photo(99))
        assert "twice" in refused(path)

    def test_no_damage_to_a_tar_loses_images_in_silence(self, tmp_path: Path):
        whole = tar(tmp_path / "x.tar", PHOTOS).read_bytes()
        (tmp_path / "y.tar").write_bytes(whole + whole)
        assert "behind its end" in refused(tmp_path / "y.tar")
        header = whole.index(b"b/0.png")
        (tmp_path / "y.tar").write_bytes(whole[:header] + b"\xff" + whole[header + 1 :])
        assert "damaged" in refused(tmp_path / "y.tar")

    @given(cut=st.integers(0, 11_000))
    def test_a_tar_that_is_cut_off_is_refused(self, tmp_path_factory, cut: int):
        root = tmp_path_factory.getbasetemp() / "cut"
        whole = tar(root / "x.tar", PHOTOS).read_bytes()
        end = whole.rindex(photo(13)[-8:]) + 512  # a block of zeros must be left
        (root / "y.tar").write_bytes(whole[: min(cut, end)])
        assert len(refused(root / "y.tar")) > 0

    @given(cut=st.integers(0, 3_000))
    def test_a_zip_that_is_cut_off_is_refused(self, tmp_path_factory, cut: int):
        root = tmp_path_factory.getbasetemp() / "cutzip"
        root.mkdir(exist_ok=True)
        whole = zipped(root / "x.zip", PHOTOS).read_bytes()
        (root / "y.zip").write_bytes(whole[: min(cut, len(whole) - 1)])
        assert "y.zip" in refused(root / "y.zip")

    def test_a_damaged_entry_is_one_failure(self, tmp_path: Path):
        path = zipped(tmp_path / "x.zip", PHOTOS, zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        data[data.index(PHOTOS["a/1.png"]) + 40] ^= 255
        path.write_bytes(data)
        listing = open_source(str(path))
        with pytest.raises(ImageError, match="CRC"):
            sources.read(listing, listing.images[1])
        assert sources.read(listing, listing.images[0])[0] == PHOTOS["a/0.png"]

    def test_what_is_encrypted_or_compressed_as_a_whole_says_so(self, tmp_path: Path):
        path = zipped(tmp_path / "x.zip", PHOTOS)
        data = bytearray(path.read_bytes())
        for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
            data[at] |= 1
        path.write_bytes(data)
        listing = open_source(str(path))
        with pytest.raises(ImageError, match="encrypted"):
            sources.read(listing, listing.images[0])
        with tarfile.open(tmp_path / "y.tar.gz", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("a"))
        assert "gunzip" in refused(tmp_path / "y.tar.gz")

    @pytest.mark.parametrize("write", [tar, zipped])
    def test_an_archive_that_changes_is_noticed(self, tmp_path: Path, write):
        path = write(tmp_path / ("x.tar" if write is tar else "x.zip"), PHOTOS)
        listing = open_source(str(path))
        write(path, {name: photo(50) for name in PHOTOS} | {"a/9.png": photo(51)})
        assert sources.state(listing, listing.images[0]) is None
        with pytest.raises(ImageError, match="changed"):
            sources.read(listing, listing.images[0])

    def test_an_empty_archive_holds_no_images(self, tmp_path: Path):
        assert "no images" in refused(tar(tmp_path / "x.tar", {"readme.txt": b"x"}))
        assert "no images" in refused(zipped(tmp_path / "x.zip", {}))
        (tmp_path / "z.zip").write_bytes(b"")
        assert "z.zip" in refused(tmp_path / "z.zip")


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


FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def arrow(names: bool = True, n: int = 8, label: object = None) -> pa.Table:
    """A table as ``datasets`` writes it."""
    data = [photo(k) for k in range(n)]
    cells = [{"bytes": image, "path": f"in/{k}.png"} for k, image in enumerate(data)]
    labels = [k % 2 for k in range(n)] if label is None else label
    table = pa.table({"image": cells, "label": labels})
    description = json.dumps({"info": {"features": FEATURES}})
    return table.replace_schema_metadata({"huggingface": description}) if names else table


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
            ({"image": [b"1"], "label": [[1]]}, "neither text nor"),
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
        (tmp_path / "d.h5").write_bytes(b"no HDF5")
        assert "cannot read" in refused(tmp_path / "d.h5")


class TestUrls:
    @pytest.fixture
    def bucket(self):
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]
        yield memory
        memory.store.clear()

    def test_a_folder_behind_a_url(self, bucket):
        for name, data in PHOTOS.items():
            bucket.pipe(f"/photos/{name}", data)
        bucket.pipe("/photos/readme.md", b"x")
        listing = open_source("memory://photos")
        assert contents(listing) == PHOTOS
        assert listing.classes == ("a", "b")
        assert listing.ignored == {"not an image: .md": 1}
        known = sources.state(listing, listing.images[0])
        assert known == sources.read(listing, listing.images[0])[1]
        bucket.pipe("/photos/a/0.png", photo(77))
        again = open_source("memory://photos")
        assert sources.state(again, again.images[0]) != known

    @pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.parquet", "x.h5"])
    def test_files_that_hold_many(self, bucket, tmp_path: Path, name: str):
        if name == "x.tar":
            tar(tmp_path / name, PHOTOS)
        elif name == "x.zip":
            zipped(tmp_path / name, PHOTOS)
        elif name == "x.parquet":
            pq.write_table(arrow(), tmp_path / name)
        else:
            TestArrays().write(tmp_path / name, images=np.zeros((2, 4, 4), np.uint8))
        bucket.pipe(f"/shards/{name}", (tmp_path / name).read_bytes())
        here = open_source(str(tmp_path / name))
        for url in (f"memory://shards/{name}", "memory://shards"):
            there = open_source(url)
            assert rows(there) == rows(here)
            assert contents(there) == contents(here)

    def test_what_is_wrong_with_a_url(self, bucket):
        assert "nothing at" in refused("memory://nowhere")
        assert "nosuch" in refused("nosuch://x/y")
        bucket.pipe("/x/readme.md", b"x")
        assert "no images" in refused("memory://x")

    def test_an_image_that_vanishes_is_one_failure(self, bucket):
        for name, data in PHOTOS.items():
            bucket.pipe(f"/photos/{name}", data)
        listing = open_source("memory://photos")
        bucket.rm("/photos/a/0.png")
        with pytest.raises(ImageError, match="not found"):
            sources.read(listing, listing.images[0])


def test_a_part_can_be_sent_to_another_process(tmp_path: Path):
    made = [
        zipped(tmp_path / "x.zip", PHOTOS),
        tar(tmp_path / "x.tar", PHOTOS),
        folder(tmp_path / "plain"),
    ]
    pq.write_table(arrow(), tmp_path / "x.parquet")
    for source in (*made, tmp_path / "x.parquet"):
        listing = open_source(str(source))
        some = pickle.loads(pickle.dumps(sources.subset(listing, [5, 1])))
        assert some.images == (listing.images[5], listing.images[1])
        assert some.classes == listing.classes
        assert contents(some) == {ref.path: sources.read(listing, ref)[0] for ref in some.images}


def test_members_are_read_by_many_threads_at_once(tmp_path: Path):
    from concurrent.futures import ThreadPoolExecutor

    many = {f"{k % 7}/{k}.png": photo(k, 6) for k in range(300)}
    pq.write_table(pa.table({"png": [*many.values()]}), tmp_path / "x.parquet", row_group_size=50)
    for source in (
        zipped(tmp_path / "x.zip", many),
        tar(tmp_path / "x.tar", many),
        tmp_path / "x.parquet",
    ):
        listing = open_source(str(source))
        with ThreadPoolExecutor(8) as pool:
            read = [*pool.map(lambda ref: sources.read(listing, ref)[0], listing.images)]  # noqa: B023
        hashes = sorted(hashlib.sha256(data).hexdigest() for data in read)
        assert hashes == sorted(hashlib.sha256(data).hexdigest() for data in many.values())


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_descriptors_are_not_spent(tmp_path: Path):
    for k in range(80):
        tar(tmp_path / f"{k}.tar", {"a/0.png": photo(k, 4)})
    listing = open_source(str(tmp_path))
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(2):
        assert len(contents(listing)) == 80
    assert len([*Path("/proc/self/fd").iterdir()]) - before <= 66
