"""Folders of images."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from headstart.core.errors import InputError
from headstart.core.records import Listing
from headstart.datasets import describe, location, open_source
from headstart.datasets import folder as folder_module
from headstart.datasets.file_names import EXTENSIONS
from headstart.datasets.listing import make_listing
from hypothesis import given
from hypothesis import strategies as st
from image_files import (
    plant,
    refused,
    rows,
)


def attempt(data: str) -> Listing | str:
    """Return the listing, or the message of the error."""
    try:
        return open_source(data)
    except InputError as error:
        return str(error)


def test_classes_without_splits(tmp_path):
    plant(tmp_path, "dog/1.jpg", "cat/2.png", "cat/deep/er/1.webp")
    listing = open_source(str(tmp_path))
    assert rows(listing) == [
        ("cat/2.png", "cat", ""),
        ("cat/deep/er/1.webp", "cat", ""),
        ("dog/1.jpg", "dog", ""),
    ]
    assert listing.classes == ("cat", "dog")
    assert (listing.root, listing.name, listing.ignored) == (tmp_path, str(tmp_path), {})


def test_splits_come_in_order_with_their_classes(tmp_path):
    plant(
        tmp_path, "test/cat/1.jpg", "validation/dog/1.jpg", "train/dog/1.jpg", "train/cat/x/1.jpg"
    )
    assert rows(open_source(str(tmp_path))) == [
        ("train/cat/x/1.jpg", "cat", "train"),
        ("train/dog/1.jpg", "dog", "train"),
        ("validation/dog/1.jpg", "dog", "validation"),
        ("test/cat/1.jpg", "cat", "test"),
    ]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("TRAIN", "train"),
        ("Training", "train"),
        ("val", "validation"),
        ("valid", "validation"),
        ("Validation", "validation"),
        ("dev", "validation"),
        ("Test", "test"),
        ("testing", "test"),
    ],
)
def test_names_of_splits(folder, split, tmp_path):
    plant(tmp_path, f"{folder}/cat/1.jpg")
    assert rows(open_source(str(tmp_path))) == [(f"{folder}/cat/1.jpg", "cat", split)]


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    plant(tmp_path, "train/steam/1.jpg", "bus/1.jpg", "car/1.jpg")
    listing = open_source(str(tmp_path))
    assert listing.classes == ("bus", "car", "train")
    assert {image.split for image in listing.images} == {""}


def test_a_class_below_a_split_may_have_the_name_of_a_split(tmp_path):
    plant(tmp_path, "train/train/1.jpg", "train/bus/1.jpg", "test/train/1.jpg")
    assert open_source(str(tmp_path)).classes == ("bus", "train")


def test_folders_without_images_do_not_matter_beside_splits(tmp_path):
    plant(tmp_path, "train/cat/1.jpg", "test/cat/1.jpg", "annotations/all.txt")
    (tmp_path / "empty").mkdir()
    listing = open_source(str(tmp_path))
    assert listing.classes == ("cat",)
    assert [image.split for image in listing.images] == ["train", "test"]


def test_splits_beside_other_folders_are_ambiguous(tmp_path):
    plant(tmp_path, "train/cat/1.jpg", "test/cat/1.jpg", "extra/1.jpg")
    message = refused(tmp_path)
    assert "test, train" in message
    assert "extra" in message
    assert "CSV" in message


def test_loose_images_have_no_label(tmp_path):
    plant(tmp_path, "b.jpg", "a.jpg")
    listing = open_source(str(tmp_path))
    assert rows(listing) == [("a.jpg", None, ""), ("b.jpg", None, "")]
    assert listing.classes == ()


def test_loose_images_beside_classes_have_no_label(tmp_path):
    plant(tmp_path, "train/cat/1.jpg", "train/loose.jpg", "test/unknown.jpg", "root.jpg")
    assert rows(open_source(str(tmp_path))) == [
        ("train/loose.jpg", None, "train"),
        ("train/cat/1.jpg", "cat", "train"),
        ("test/unknown.jpg", None, "test"),
        ("root.jpg", None, ""),
    ]


@pytest.mark.parametrize("extension", [*sorted(EXTENSIONS), "JPG", "TIFF"])
def test_extensions_of_images(extension, tmp_path):
    plant(tmp_path, f"cat/a.b.{extension}")
    assert len(open_source(str(tmp_path)).images) == 1


def test_what_is_passed_over_is_counted_by_reason(tmp_path):
    plant(
        tmp_path,
        "cat/1.jpg",
        "cat/notes.TXT",
        "cat/more.txt",
        "cat/README",
        "cat/1.2.840.113",
        "cat/Thumbs.db",
        "cat/.hidden.jpg",
        ".git/cat/1.jpg",
        "__MACOSX/cat/1.jpg",
        "desktop.ini",
        "cat/jpg",
    )
    listing = open_source(str(tmp_path))
    assert rows(listing) == [("cat/1.jpg", "cat", "")]
    assert listing.ignored == {
        "hidden": 2,
        "not an image": 3,
        "not an image: .txt": 2,
        "system file": 3,
    }


def test_links_are_followed(tmp_path):
    store = plant(tmp_path / "store", "a.jpg", "pets/b.jpg")
    root = tmp_path / "root"
    (root / "cat").mkdir(parents=True)
    (root / "cat" / "1.jpg").symlink_to(store / "a.jpg")
    (root / "dog").symlink_to(store / "pets")
    (tmp_path / "link").symlink_to(root)
    assert rows(open_source(str(tmp_path / "link"))) == [
        ("cat/1.jpg", "cat", ""),
        ("dog/b.jpg", "dog", ""),
    ]


def test_links_that_lead_nowhere_or_back_are_counted(tmp_path):
    plant(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "cat" / "self.jpg").symlink_to(tmp_path / "cat" / "self.jpg")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    listing = open_source(str(tmp_path))
    assert rows(listing) == [("cat/1.jpg", "cat", "")]
    assert listing.ignored == {"broken link": 2, "link cycle": 1}


def test_folders_that_link_to_each_other_end(tmp_path):
    plant(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    listing = open_source(str(tmp_path))
    assert [image.path for image in listing.images] == [
        "a/1.jpg",
        "a/to_b/2.jpg",
        "b/2.jpg",
        "b/to_a/1.jpg",
    ]
    assert listing.ignored == {"link cycle": 2}


def test_pipes_and_sockets_are_not_opened(tmp_path, monkeypatch):
    plant(tmp_path, "cat/1.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    (tmp_path / "cat" / "null.jpg").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path / "cat")  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        listing = open_source(str(tmp_path))
    assert rows(listing) == [("cat/1.jpg", "cat", "")]
    assert listing.ignored == {"not a regular file": 3}


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    plant(tmp_path, "x.jpg/1.jpg")
    assert rows(open_source(str(tmp_path))) == [("x.jpg/1.jpg", "x.jpg", "")]


def test_names_that_are_not_utf8_survive(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    plant(tmp_path, f"{os.fsdecode(bytes([0xFF]))}/{name}")
    listing = open_source(str(tmp_path))
    (image,) = listing.images
    assert os.fsencode(image.path) == b"\xff/caf\xe9.jpg"
    assert location(listing, image).exists()
    assert describe(listing).isprintable()


def test_a_pipe_is_no_manifest(tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    assert "no such file or folder" in refused(tmp_path / "list.csv")


def test_a_folder_without_images_says_what_was_expected_and_found(tmp_path):
    plant(tmp_path, "cat/a.txt", "cat/b.txt", ".hidden")
    (tmp_path / "dog").mkdir()
    message = refused(tmp_path)
    assert "class/image.jpg" in message
    assert "ignored: 2 not an image (.txt), 1 hidden" in message


def test_an_empty_folder(tmp_path):
    assert "ignored" not in refused(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    plant(tmp_path, "cat/1.jpg", "locked/1.jpg")
    scandir = os.scandir

    def forbid(path):  # the tests may run as root, whom no permission stops
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folder_module.os, "scandir", forbid)
    message = refused(tmp_path)
    assert str(tmp_path / "locked") in message
    assert "Permission denied" in message


NAMES = st.one_of(
    st.sampled_from(["train", "test", "Val", "cat", "dog", "a.jpg", "B.PNG", ".x", "n.txt", "7"]),
    st.binary(min_size=1, max_size=6)
    .filter(lambda raw: not set(raw) & {0, 0x2F})
    .map(lambda raw: os.fsdecode(raw) + ".jpg"),
)


TREES = st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12)


@given(TREES)
def test_any_tree_gives_one_sorted_complete_listing(tree):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for parts in tree:
            try:
                plant(root, "/".join(parts))
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # the name is taken by a file
        expected = {
            str(file.relative_to(root))
            for file in root.rglob("*")
            if file.is_file()
            and file.suffix.lower() in (".jpg", ".png")
            and not any(part.startswith(".") for part in file.relative_to(root).parts)
        }
        listing = attempt(folder)
        assert listing == attempt(folder)
        if isinstance(listing, str):
            assert not expected or "list the images in a CSV" in listing or "rename" in listing
            return
        paths = [str(location(listing, image).relative_to(root)) for image in listing.images]
        assert len(paths) == len(set(paths))
        assert set(paths) == expected
        assert all(location(listing, image).is_file() for image in listing.images)
        again = make_listing(listing.root, reversed(listing.images), listing.ignored, folder)
        assert replace(again, remarks=()) == replace(listing, remarks=(), hint="")
        ranks = [("train", "validation", "test", "").index(i.split) for i in listing.images]
        assert ranks == sorted(ranks)
        assert set(listing.classes) == {i.label for i in listing.images} - {None}
