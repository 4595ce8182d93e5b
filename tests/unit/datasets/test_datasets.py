from __future__ import annotations

import csv
import inspect
import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from headstart.core.errors import InputError, OutputError
from headstart.core.records import ImageRef, Listing
from headstart.core.torchvision_import import import_torchvision
from headstart.datasets import describe, images, location, open_source, read_groups
from headstart.datasets import folder as folder_module
from headstart.datasets.listing import make_listing, natural_key
from headstart.datasets.torchvision_sets import SETS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image


def plant(root: Path, *paths: str) -> Path:
    """Create empty files; listing never opens one."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def rows(listing: Listing) -> list[tuple[str, str | None, str]]:
    return [(image.path, image.label, image.split) for image in listing.images]


def refused(data: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(data))
    message = str(caught.value)
    assert message.isprintable()  # one line
    return message


def attempt(data: str) -> Listing | str:
    """Return the listing, or the message of the error."""
    try:
        return open_source(data)
    except InputError as error:
        return str(error)


# Folders


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


def test_order_is_natural(tmp_path):
    plant(
        tmp_path,
        "c10/1.jpg",
        "c9/10.jpg",
        "c9/9.jpg",
        "c9/09.jpg",
        "c9-b/1.jpg",
        "c9/B.jpg",
        "c9/x/1.jpg",
    )
    listing = open_source(str(tmp_path))
    assert [image.path for image in listing.images] == [
        "c9/09.jpg",
        "c9/9.jpg",
        "c9/10.jpg",
        "c9/B.jpg",
        "c9/x/1.jpg",
        "c9-b/1.jpg",
        "c10/1.jpg",
    ]
    assert listing.classes == ("c9", "c9-b", "c10")
    assert make_listing(tmp_path, reversed(listing.images), {}, str(tmp_path)) == listing


def test_endless_numbers_can_be_ordered():
    names = ["9" * 5000, "1" + "0" * 5000, "2"]
    assert sorted(names, key=natural_key)[0] == "2"


@pytest.mark.parametrize("extension", [*sorted(folder_module.EXTENSIONS), "JPG", "TIFF"])
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


@pytest.mark.parametrize("name", ["missing", "", "~nobody", "a\nb", "a\0b", "x" * 5000, "a.csv"])
def test_a_source_that_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(name)


def test_a_single_file_is_no_source(tmp_path):
    plant(tmp_path, "1.jpg")
    assert "give a folder" in refused(tmp_path / "1.jpg")


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
            assert not expected or "split folders" in listing
            return
        paths = [image.path for image in listing.images]
        assert len(paths) == len(set(paths))
        assert set(paths) == expected
        assert all(location(listing, image).is_file() for image in listing.images)
        again = make_listing(root, reversed(listing.images), listing.ignored, folder)
        assert again == listing
        ranks = [("train", "validation", "test", "").index(i.split) for i in listing.images]
        assert ranks == sorted(ranks)
        assert set(listing.classes) == {i.label for i in listing.images} - {None}


# Manifests


@pytest.fixture
def photos(tmp_path):
    return plant(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg")


def manifest(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_manifest_with_splits_in_any_column_order(photos):
    file = manifest(
        photos,
        "Split, note ,LABEL,path\n"
        "Val,x, cat ,cat/1.jpg\n"
        "TRAIN,x,dog,./dog//1.jpg\n"
        "\n"
        ",x,,cat\\2.jpg\n"
        "test,x,dog,cat/none.jpg\n",
    )
    listing = open_source(str(file))
    assert rows(listing) == [
        ("dog/1.jpg", "dog", "train"),
        ("cat/1.jpg", "cat", "validation"),
        ("cat/none.jpg", "dog", "test"),
        ("cat/2.jpg", None, ""),
    ]
    assert (listing.root, listing.name) == (photos, str(file))
    assert listing.classes == ("cat", "dog")
    assert listing.ignored == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", b"path,label\ncat/1.jpg,cat\n"),
        ("a.csv", b"\xef\xbb\xbfpath,label\r\ncat/1.jpg,cat\r\n"),
        ("a.csv", b'"path","label"\r"cat/1.jpg","cat"'),
        ("A.TSV", b"path\tlabel\ncat/1.jpg\tcat\n"),
    ],
)
def test_spellings_of_a_manifest(name, text, photos):
    file = manifest(photos, text, name)
    assert rows(open_source(str(file))) == [("cat/1.jpg", "cat", "")]


def test_absolute_paths(photos, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    listing = open_source(str(manifest(elsewhere, f"path,label\n{photos}/cat/1.jpg,cat\n")))
    (image,) = listing.images
    assert location(listing, image) == photos / "cat" / "1.jpg"


def test_a_backslash_in_a_name_stays(photos):
    plant(photos, "cat/a\\b.jpg")
    listing = open_source(str(manifest(photos, "path,label\ncat/a\\b.jpg,cat\n")))
    assert location(listing, listing.images[0]).exists()


def test_an_image_listed_twice_counts_once(photos):
    file = manifest(photos, "path,label\ncat/1.jpg,cat\n./cat/1.jpg,cat\ncat/1.jpg,cat\n")
    listing = open_source(str(file))
    assert rows(listing) == [("cat/1.jpg", "cat", "")]
    assert listing.ignored == {"listed twice": 2}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty"]),
        ("path,label\n", ["no images"]),
        ("file,label\nx,y\n", ["no column path", "file, label"]),
        ("path;label\nx;y\n", ["no column path and no column label", "path;label", "commas"]),
        ("path,label,Path\nx,y,z\n", ["column path is there twice"]),
        ("path,label\ncat/1.jpg,cat\n ,cat\n", ["line 3", "path is empty"]),
        ("path,label\n\ncat/1.jpg,cat,x\n", ["line 3", "3 columns where the header has 2"]),
        ("path,label\ncat/1.jpg\n", ["line 2", "1 columns"]),
        ("path,label,split\ncat/1.jpg,cat,banana\n", ["line 2", "banana"]),
        ("path,label\ncat/1.jpg,cat\ncat/1.jpg,dog\n", ["line 3: cat/1.jpg", "line 2; keep one"]),
        (
            "path,label,split\ncat/1.jpg,cat,train\ncat/1.jpg,cat,test\n",
            ["split", "line 2; keep one"],
        ),
        ('path,label\ncat/1.jpg,"cat\n', ["line 2", "malformed"]),
        ('path,label\n"cat/1.jpg"x,cat\n', ["line 2", "malformed"]),
        ("path,label\ncat/1.jpg,cat\ncat/2.jpg,c\0t\n", ["line 3", "NUL"]),
        (b"\xef\xbb\xbfpath,label\ncat/1.jpg,caf\xe9\n", ["line 2", "UTF-8"]),
        ("path,label\nnone/1.jpg,cat\nnone/2.jpg,cat\n", ["none of the files", "relative to"]),
        ("path,label\n" + "x" * 5000 + ",cat\n", ["none of the files"]),
    ],
)
def test_manifests_that_cannot_be_used(text, parts, photos):
    message = refused(manifest(photos, text))
    assert "list.csv" in message
    for part in parts:
        assert part in message


def test_groups_are_read_from_the_manifest_or_a_table_of_their_own(photos):
    text = "path,label,group\n./cat/1.jpg,cat,a\ndog\\2.jpg,dog, b \nx.jpg,dog,\n"
    (photos / "m.csv").write_text(text, encoding="utf-8")
    assert read_groups(photos / "m.csv") == {"cat/1.jpg": "a", "dog/2.jpg": "b"}
    (photos / "g.tsv").write_text("Group\tPath\nسلام\tx.jpg\nسلام\tx.jpg\n", encoding="utf-8")
    assert read_groups(photos / "g.tsv") == {"x.jpg": "سلام"}


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("g.csv", "path,label\na.jpg,cat\n", "has no column group"),
        (
            "g.csv",
            "path,group\na.jpg,1\na.jpg,2\n",
            "line 3: a.jpg is in the group 2 here",
        ),
        ("g.csv", "path,group\na.jpg,\n", "names no group"),
        ("g.csv", "", "is empty; expected a header with path,group"),
        ("g.json", "{}", "not a table of groups; give a .csv or .tsv"),
    ],
)
def test_groups_that_cannot_be_used(name, text, part, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=part):
        read_groups(tmp_path / name)


def test_a_manifest_that_cannot_be_read(photos, monkeypatch):
    file = manifest(photos, "path,label\ncat/1.jpg,cat\n")

    def forbid(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbid)
    assert "Permission denied" in refused(file)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6))
def test_what_a_csv_writer_writes_is_read_back_or_refused(pairs):
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder), "there.jpg")
        with (root / "list.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label"), ("there.jpg", "x"), *pairs])
        listing = attempt(str(root / "list.csv"))
        if isinstance(listing, str):
            assert "line" in listing
            return
        labels = {label.strip() or None for path, label in pairs} | {"x"}
        assert {image.label for image in listing.images} == labels


# Torchvision's sets


@pytest.fixture(scope="module")
def datasets():
    return import_torchvision().datasets


def eurosat(root: Path) -> Path:
    plant(
        root / "eurosat" / "2750",
        "Forest/Forest_1.jpg",
        "Forest/Forest_10.jpg",
        "River/River_2.jpg",
    )
    return root


def test_a_set_of_files_is_listed_where_it_lies(tmp_path, datasets):
    listing = open_source("torchvision:EuroSAT", cache=eurosat(tmp_path), download=False)
    assert rows(listing) == [
        ("eurosat/2750/Forest/Forest_1.jpg", "Forest", ""),
        ("eurosat/2750/Forest/Forest_10.jpg", "Forest", ""),
        ("eurosat/2750/River/River_2.jpg", "River", ""),
    ]
    assert (listing.root, listing.name) == (tmp_path, "torchvision:EuroSAT")
    assert [file.name for file in tmp_path.iterdir()] == ["eurosat"]


def test_a_root_can_be_named_and_capitals_do_not_matter(tmp_path, datasets, monkeypatch):
    monkeypatch.chdir(eurosat(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    absolute = open_source(f"torchvision:EuroSAT@{tmp_path}", cache=tmp_path / "other")
    relative = open_source("torchvision:eurosat@.")
    at_home = open_source("torchvision:EUROSAT@~")
    assert absolute.root == relative.root == at_home.root == tmp_path
    assert absolute.images == relative.images == at_home.images
    assert location(relative, relative.images[0]).exists()


def test_the_users_cache_is_the_default(tmp_path, datasets, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    eurosat(tmp_path / "headstart" / "datasets")
    assert len(open_source("torchvision:EuroSAT", download=False).images) == 3


def test_splits_of_the_authors_are_kept(tmp_path, datasets):
    base = tmp_path / "dtd" / "dtd"
    plant(base / "images", *(f"{c}/{c}_{n}.jpg" for c in ("dotted", "woven") for n in range(3)))
    (base / "labels").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        lines = f"woven/woven_{number}.jpg\ndotted/dotted_{number}.jpg\n"
        (base / "labels" / f"{split}1.txt").write_text(lines)
    listing = open_source("torchvision:DTD", cache=tmp_path)
    assert [(i.path.rpartition("/")[2], i.label, i.split) for i in listing.images] == [
        ("dotted_0.jpg", "dotted", "train"),
        ("woven_0.jpg", "woven", "train"),
        ("dotted_1.jpg", "dotted", "validation"),
        ("woven_1.jpg", "woven", "validation"),
        ("dotted_2.jpg", "dotted", "test"),
        ("woven_2.jpg", "woven", "test"),
    ]
    assert all(location(listing, image).is_file() for image in listing.images)


def test_pets_use_the_splits_that_do_not_overlap(tmp_path, datasets):
    base = plant(tmp_path / "oxford-iiit-pet", "images/Ab_Cd_1.jpg", "images/pug_1.jpg")
    (base / "annotations").mkdir()
    for split in ("trainval", "test"):
        (base / "annotations" / f"{split}.txt").write_text("Ab_Cd_1 1 1 1\npug_1 2 2 1\n")
    listing = open_source("torchvision:OxfordIIITPet", cache=tmp_path)
    assert [(i.label, i.split) for i in listing.images] == [
        ("Ab Cd", "train"),
        ("Pug", "train"),
        ("Ab Cd", "test"),
        ("Pug", "test"),
    ]


def test_classes_with_several_names_take_the_first(tmp_path, datasets):
    plant(tmp_path / "imagenette2", "train/n01440764/1.JPEG", "val/n03888257/2.JPEG")
    listing = open_source("torchvision:Imagenette", cache=tmp_path)
    assert [(i.label, i.split) for i in listing.images] == [
        ("tench", "train"),
        ("parachute", "validation"),
    ]


def test_caltech_is_listed_though_it_keeps_numbers(tmp_path, datasets):
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    plant(root, "BACKGROUND_Google/image_0001.jpg", "ant/image_0001.jpg", "bass/image_0002.jpg")
    listing = open_source("torchvision:Caltech101", cache=tmp_path)
    assert [(i.path.rpartition("/")[2], i.label) for i in listing.images] == [
        ("image_0001.jpg", "ant"),
        ("image_0002.jpg", "bass"),
    ]


@pytest.fixture
def cifar(tmp_path, datasets, monkeypatch):
    """A tiny CIFAR-10 as its authors' files: 4 images to train on, 2 to test."""
    kind = datasets.CIFAR10
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    calculate_md5 = datasets.utils.calculate_md5

    def write(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, calculate_md5(folder / name)]

    train = write("data_batch_1", {"data": pixels[:4].reshape(4, -1), "labels": [1, 0, 1, 0]})
    test = write("test_batch", {"data": pixels[4:].reshape(2, -1), "labels": [0, 1]})
    name, md5 = write("batches.meta", {"label_names": ["air/plane", "bird"]})
    monkeypatch.setattr(kind, "train_list", [train])
    monkeypatch.setattr(kind, "test_list", [test])
    monkeypatch.setattr(kind, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return tmp_path, pixels


def test_a_set_of_arrays_is_written_once_as_png(cifar):
    root, pixels = cifar
    listing = open_source("torchvision:CIFAR10", cache=root, download=False)
    assert listing.root == root / "CIFAR10-images"
    assert rows(listing) == [
        ("train/air-plane/00001.png", "air-plane", "train"),
        ("train/air-plane/00003.png", "air-plane", "train"),
        ("train/bird/00000.png", "bird", "train"),
        ("train/bird/00002.png", "bird", "train"),
        ("test/air-plane/00000.png", "air-plane", "test"),
        ("test/bird/00001.png", "bird", "test"),
    ]
    with Image.open(location(listing, listing.images[0])) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels[1].transpose(1, 2, 0))
    assert not [file for file in root.iterdir() if file.name.startswith(".")]


def test_grey_arrays_become_grey_png(tmp_path, datasets):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, level in (("train", 7), ("t10k", 9)):
        size = b"".join(number.to_bytes(4, "big") for number in (0x00000803, 1, 28, 28))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(size + bytes([level]) * 784)
        size = b"".join(number.to_bytes(4, "big") for number in (0x00000801, 1))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(size + bytes([level]))
    listing = open_source("torchvision:MNIST", cache=tmp_path)
    assert rows(listing) == [
        ("train/7 - seven/00000.png", "7 - seven", "train"),
        ("test/9 - nine/00000.png", "9 - nine", "test"),
    ]
    with Image.open(location(listing, listing.images[1])) as image:
        assert (image.mode, image.size, image.getpixel((0, 0))) == ("L", (28, 28), 9)


def test_hidden_labels_stay_unknown(tmp_path, datasets):
    base = tmp_path / "clevr" / "CLEVR_v1.0"
    plant(base / "images", "train/a.png", "val/b.png", "test/c.png")
    (base / "scenes").mkdir()
    for split, file in (("train", "a.png"), ("val", "b.png")):
        scenes = {"scenes": [{"image_filename": file, "objects": [1, 2, 3]}]}
        (base / "scenes" / f"CLEVR_{split}_scenes.json").write_text(json.dumps(scenes))
    listing = open_source("torchvision:CLEVRClassification", cache=tmp_path)
    assert [(i.label, i.split) for i in listing.images] == [
        ("3", "train"),
        ("3", "validation"),
        (None, "test"),
    ]


def test_two_exports_at_once_agree(cifar, monkeypatch):
    root, _ = cifar

    def save_after_another(path: Path, pixels: np.ndarray) -> None:
        images.save_png(path, pixels)
        other = root / "CIFAR10-images" / path.relative_to(path.parents[2])
        other.parent.mkdir(parents=True, exist_ok=True)
        images.save_png(other, pixels)

    monkeypatch.setattr("headstart.datasets.torchvision_sets.save_png", save_after_another)
    assert len(open_source("torchvision:CIFAR10", cache=root).images) == 6


def test_classes_that_share_a_name_are_told_apart(tmp_path, datasets, monkeypatch):
    names = datasets.Imagenette._WNID_TO_CLASS | {"n01440764": ("crane",), "n02102040": ("crane",)}
    monkeypatch.setattr(datasets.Imagenette, "_WNID_TO_CLASS", names)
    for split in ("train", "val"):
        plant(tmp_path / "imagenette2" / split, "n01440764/1.JPEG", "n02102040/2.JPEG")
    listing = open_source("torchvision:Imagenette", cache=tmp_path)
    assert listing.classes == ("crane (0)", "crane (1)")


def test_written_images_serve_without_the_arrays(cifar):
    root, _ = cifar
    first = open_source("torchvision:CIFAR10", cache=root, download=False)
    for file in (root / "cifar-10-batches-py").iterdir():
        file.unlink()
    assert open_source("torchvision:CIFAR10", cache=root, download=False) == first


def test_an_interrupted_export_leaves_nothing(cifar, monkeypatch):
    root, _ = cifar
    monkeypatch.setattr(
        "headstart.datasets.torchvision_sets.save_png",
        lambda path, pixels: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OutputError, match="CIFAR10-images: No space left on device"):
        open_source("torchvision:CIFAR10", cache=root)
    assert [file.name for file in root.iterdir()] == ["cifar-10-batches-py"]


def test_files_in_a_format_that_is_not_decoded_become_png(tmp_path, datasets):
    base = tmp_path / "gtsrb"
    for path, level in (("GTSRB/Training/00000/a.ppm", 10), ("GTSRB/Final_Test/Images/b.ppm", 20)):
        file = base / path
        file.parent.mkdir(parents=True)
        Image.new("RGB", (4, 3), (level, 0, 0)).save(file)
    (base / "GT-final_test.csv").write_text("Filename;ClassId\nb.ppm;7\n")
    listing = open_source("torchvision:GTSRB", cache=tmp_path)
    assert rows(listing) == [
        ("train/0/00000.png", "0", "train"),
        ("test/7/00000.png", "7", "test"),
    ]
    with Image.open(location(listing, listing.images[1])) as image:
        assert image.getpixel((0, 0)) == (20, 0, 0)


def test_a_damaged_image_stops_the_export(tmp_path, datasets):
    base = plant(tmp_path / "gtsrb", "GTSRB/Training/00000/a.ppm", "GTSRB/Final_Test/Images/b.ppm")
    (base / "GT-final_test.csv").write_text("Filename;ClassId\nb.ppm;7\n")
    assert "image 0 of torchvision's GTSRB" in refused(f"torchvision:GTSRB@{tmp_path}")
    assert [file.name for file in tmp_path.iterdir()] == ["gtsrb"]


def test_no_network_is_one_clear_line(tmp_path, datasets, monkeypatch):
    def fail(*_arguments: object, **_options: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(
        sys.modules[datasets.EuroSAT.__module__], "download_and_extract_archive", fail
    )
    message = refused(f"torchvision:EuroSAT@{tmp_path / 'sets'}")
    for part in ("EuroSAT", str(tmp_path / "sets"), "network", "Name or service not known"):
        assert part in message
    assert list((tmp_path / "sets").iterdir()) == []


def test_a_download_that_breaks_off_is_not_taken_for_the_set(tmp_path, datasets, monkeypatch):
    module = sys.modules[datasets.EuroSAT.__module__]

    def break_off(url: str, download_root: str, md5: str) -> None:
        plant(Path(download_root), "2750/Forest/1.jpg")
        raise ConnectionResetError("reset by peer")

    def succeed(url: str, download_root: str, md5: str) -> None:
        eurosat(Path(download_root).parent)

    monkeypatch.setattr(module, "download_and_extract_archive", break_off)
    assert "reset by peer" in refused(f"torchvision:EuroSAT@{tmp_path}")
    monkeypatch.setattr(module, "download_and_extract_archive", succeed)
    listing = open_source("torchvision:EuroSAT", cache=tmp_path)
    assert len(listing.images) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["eurosat"]


def test_without_download_the_network_is_not_asked(tmp_path, datasets, monkeypatch):
    monkeypatch.setattr(datasets.EuroSAT, "download", lambda self: pytest.fail("asked"))
    with pytest.raises(InputError, match=r"EuroSAT is not in .* or allow the download"):
        open_source("torchvision:EuroSAT", cache=tmp_path, download=False)


def test_a_set_that_cannot_be_downloaded_says_so(tmp_path, datasets):
    message = refused(f"torchvision:ImageNet@{tmp_path}")
    assert "ILSVRC2012" in message
    assert message.endswith("put it there")


def test_a_damaged_copy_is_named(cifar, monkeypatch, datasets):
    root, _ = cifar
    file = root / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(b"no pickle")
    md5 = datasets.utils.calculate_md5(file)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5]])
    assert "move it away" in refused(f"torchvision:CIFAR10@{root}")


def test_a_folder_that_cannot_be_made(tmp_path, datasets):
    plant(tmp_path, "file")
    with pytest.raises(OutputError, match="cannot write"):
        open_source("torchvision:EuroSAT", cache=tmp_path / "file" / "sets")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("CIFAR11", "did you mean CIFAR10"),
        ("flowers", "did you mean Flowers102"),
        ("zzz", "choose one of: CIFAR10"),
        ("", "(empty)"),
        ("FakeData", "has no photos with one class each"),
        ("VOCDetection", "has no photos with one class each"),
        ("kinetics", "torchvision's Kinetics"),
        ("a\nb", "a\\nb"),
    ],
)
def test_names_that_are_refused(name, part):
    assert part in refused(f"torchvision:{name}")


@pytest.mark.parametrize("name", SETS)
def test_the_table_fits_torchvision(name, tmp_path, datasets, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("asked the network"))
    kind = getattr(datasets, name)
    offline = {"download": False} if "download" in inspect.signature(kind).parameters else {}
    for theirs in SETS[name].values():  # a split that it does not know would be a ValueError
        key = "train" if isinstance(theirs, bool) else "split"
        with pytest.raises((RuntimeError, FileNotFoundError)):
            kind(str(tmp_path), **offline, **({} if theirs is None else {key: theirs}))
    with pytest.raises(InputError, match=f"torchvision's {name} is not in"):
        open_source(f"torchvision:{name}", cache=tmp_path, download=False)


# One line


@pytest.mark.parametrize(
    ("refs", "ignored", "line"),
    [
        ([("a/1.jpg", "a", "")], {}, "1 image, 1 class"),
        ([("1.jpg", None, ""), ("2.jpg", None, "")], {}, "2 images, 2 unlabelled"),
        (
            [(f"train/{c}/{n}.jpg", c, "train") for c in "ab" for n in range(600)]
            + [("test/1.jpg", None, "test"), ("1.jpg", None, "")],
            {"hidden": 1, "not an image: .txt": 2000},
            "1,202 images, 2 classes (train 1,200, test 1, no split 1), 2 unlabelled; "
            "ignored: 2,000 not an image (.txt), 1 hidden",
        ),
        (
            [("a/1.jpg", "a", "")],
            {f"not an image: .{e}": n for n, e in enumerate("abcdefg", 1)},
            "1 image, 1 class; ignored: 7 not an image (.g), 6 not an image (.f), "
            "5 not an image (.e), 4 not an image (.d), 3 not an image (.c), 3 for other reasons",
        ),
    ],
)
def test_describe(refs, ignored, line, tmp_path):
    listing = make_listing(tmp_path, [ImageRef(*ref) for ref in refs], ignored, "x")
    assert describe(listing) == line


def test_listing_loads_no_torch(tmp_path):
    plant(tmp_path, "cat/1.jpg")
    script = (
        "import sys; from headstart.datasets import describe, open_source; "
        "print(describe(open_source(sys.argv[1]))); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 image, 1 class\n"
