"""Tar and zip archives: what is read, and what is refused."""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from headstart import datasets as sources
from headstart.core.errors import ImageError
from headstart.datasets import Options, open_source
from hypothesis import given
from hypothesis import strategies as st
from image_files import (
    PHOTOS,
    contents,
    folder,
    photo,
    refused,
    rows,
    tar,
    zipped,
)


def renamed_zip(path: Path, names: list[bytes]) -> Path:
    """A zip whose names are these bytes, without the flag for UTF-8."""
    stand_ins = {chr(ord("A") + n) * len(name): name for n, name in enumerate(names)}
    zipped(path, {name: photo(n) for n, name in enumerate(stand_ins)})
    content = path.read_bytes()
    for stand_in, name in stand_ins.items():
        content = content.replace(stand_in.encode(), name)
    path.write_bytes(content)
    return path


class TestNamesInZips:
    @pytest.mark.parametrize(
        ("names", "classes"),
        [
            (["Übung/1.png".encode(), b"dog/1.png"], ("dog", "Übung")),
            (["ネコ/1.png".encode(), "Café/1.png".encode()], ("Café", "ネコ")),
            ([b"cat\\1.png", b"dog\\1.png"], ("cat", "dog")),
            ([b"train\\cat\\1.png", b"train\\dog\\1.png", b"test\\cat\\1.png"], ("cat", "dog")),
        ],
    )
    def test_their_encoding_is_told_by_what_they_are(self, tmp_path: Path, names, classes):
        listing = open_source(str(renamed_zip(tmp_path / "x.zip", names)))
        assert (listing.classes, listing.remarks) == (classes, ())
        assert len(contents(listing)) == len(names)

    @pytest.mark.parametrize(
        ("word", "encoding"),
        [
            *(("猫", "gbk"), ("小狗", "gbk"), ("猫", "cp932"), ("ネコ", "cp932"), ("表", "cp932")),
            *(("貓", "big5"), ("고양이", "cp949"), ("кошка", "cp866"), ("кошка", "cp1251")),
            *(("Käse", "cp1252"), ("über", "cp1252"), ("łódź", "cp852"), ("γάτα", "cp737")),
        ],
    )
    def test_no_label_is_taken_from_one_of_uncertain_encoding(
        self, tmp_path: Path, word: str, encoding: str
    ):
        names = [f"{word}/1.png".encode(encoding), b"dog/1.png"]
        packed = renamed_zip(tmp_path / "my photos.zip", names)
        message = refused(packed)
        assert "encoded" in message
        assert f"unzip -O GBK '{packed}'" in message
        assert len(open_source(str(packed), Options(labels=False)).images) == 2
        assert len([*sources.stream([str(packed)])]) == 2

    @pytest.mark.parametrize("word", ["Übung", "Café", "été", "niño", "Straße", "naïve", "Ähre"])
    def test_words_of_western_windows_are_read_and_mentioned(self, tmp_path: Path, word: str):
        names = [f"{word}/1.png".encode("cp437"), b"dog/1.png"]
        listing = open_source(str(renamed_zip(tmp_path / "x.zip", names)))
        assert listing.classes == tuple(sorted((word, "dog")))
        (remark,) = listing.remarks
        assert word in remark

    def test_names_that_no_label_depends_on_are_mentioned(self, tmp_path: Path):
        names = ["cat/猫.png".encode("gbk"), b"dog/1.png"]
        listing = open_source(str(renamed_zip(tmp_path / "x.zip", names)))
        assert listing.classes == ("cat", "dog")
        assert "1 name" in listing.remarks[0]

    def test_the_extra_field_for_a_name_in_utf_8_declares_it(self, tmp_path: Path):
        plain = "猫/1.png".encode("gbk")
        entry = zipfile.ZipInfo("AA/1.png")
        field = struct.pack("<BI", 1, zlib.crc32(plain)) + "猫/1.png".encode()
        entry.extra = struct.pack("<HH", 0x7075, len(field)) + field
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr(entry, photo(1))
            archive.writestr("dog/1.png", photo(2))
        content = (tmp_path / "x.zip").read_bytes().replace(b"AA/1.png", plain)
        (tmp_path / "x.zip").write_bytes(content)
        listing = open_source(str(tmp_path / "x.zip"))
        assert (listing.classes, listing.remarks) == (("dog", "猫"), ())

    def test_a_backslash_beside_slashes_is_a_letter(self, tmp_path: Path):
        names = [b"a\\b/1.png", b"dog/1.png"]
        assert open_source(str(renamed_zip(tmp_path / "x.zip", names))).classes == ("a\\b", "dog")


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
