"""Torchvision's data sets."""

from __future__ import annotations

import inspect
import json
import pickle
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from headstart.core.errors import InputError, OutputError
from headstart.core.torchvision_import import import_torchvision
from headstart.datasets import Options, images, location, open_source
from headstart.datasets.torchvision_sets import SETS
from image_files import (
    plant,
    refused,
    rows,
)
from PIL import Image


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
    listing = open_source("torchvision:EuroSAT", Options(cache=eurosat(tmp_path), download=False))
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
    absolute = open_source(f"torchvision:EuroSAT@{tmp_path}", Options(cache=tmp_path / "other"))
    relative = open_source("torchvision:eurosat@.")
    at_home = open_source("torchvision:EUROSAT@~")
    assert absolute.root == relative.root == at_home.root == tmp_path
    assert absolute.images == relative.images == at_home.images
    assert location(relative, relative.images[0]).exists()


def test_the_users_cache_is_the_default(tmp_path, datasets, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    eurosat(tmp_path / "headstart" / "datasets")
    assert len(open_source("torchvision:EuroSAT", Options(download=False)).images) == 3


def test_splits_of_the_authors_are_kept(tmp_path, datasets):
    base = tmp_path / "dtd" / "dtd"
    plant(base / "images", *(f"{c}/{c}_{n}.jpg" for c in ("dotted", "woven") for n in range(3)))
    (base / "labels").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        lines = f"woven/woven_{number}.jpg\ndotted/dotted_{number}.jpg\n"
        (base / "labels" / f"{split}1.txt").write_text(lines)
    listing = open_source("torchvision:DTD", Options(cache=tmp_path))
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
    listing = open_source("torchvision:OxfordIIITPet", Options(cache=tmp_path))
    assert [(i.label, i.split) for i in listing.images] == [
        ("Ab Cd", "train"),
        ("Pug", "train"),
        ("Ab Cd", "test"),
        ("Pug", "test"),
    ]


def test_classes_with_several_names_take_the_first(tmp_path, datasets):
    plant(tmp_path / "imagenette2", "train/n01440764/1.JPEG", "val/n03888257/2.JPEG")
    listing = open_source("torchvision:Imagenette", Options(cache=tmp_path))
    assert [(i.label, i.split) for i in listing.images] == [
        ("tench", "train"),
        ("parachute", "validation"),
    ]


def test_caltech_is_listed_though_it_keeps_numbers(tmp_path, datasets):
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    plant(root, "BACKGROUND_Google/image_0001.jpg", "ant/image_0001.jpg", "bass/image_0002.jpg")
    listing = open_source("torchvision:Caltech101", Options(cache=tmp_path))
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
    listing = open_source("torchvision:CIFAR10", Options(cache=root, download=False))
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
    listing = open_source("torchvision:MNIST", Options(cache=tmp_path))
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
    listing = open_source("torchvision:CLEVRClassification", Options(cache=tmp_path))
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
    assert len(open_source("torchvision:CIFAR10", Options(cache=root)).images) == 6


def test_classes_that_share_a_name_are_told_apart(tmp_path, datasets, monkeypatch):
    names = datasets.Imagenette._WNID_TO_CLASS | {"n01440764": ("crane",), "n02102040": ("crane",)}
    monkeypatch.setattr(datasets.Imagenette, "_WNID_TO_CLASS", names)
    for split in ("train", "val"):
        plant(tmp_path / "imagenette2" / split, "n01440764/1.JPEG", "n02102040/2.JPEG")
    listing = open_source("torchvision:Imagenette", Options(cache=tmp_path))
    assert listing.classes == ("crane (0)", "crane (1)")


def test_written_images_serve_without_the_arrays(cifar):
    root, _ = cifar
    first = open_source("torchvision:CIFAR10", Options(cache=root, download=False))
    for file in (root / "cifar-10-batches-py").iterdir():
        file.unlink()
    assert open_source("torchvision:CIFAR10", Options(cache=root, download=False)) == first


def test_an_interrupted_export_leaves_nothing(cifar, monkeypatch):
    root, _ = cifar
    monkeypatch.setattr(
        "headstart.datasets.torchvision_sets.save_png",
        lambda path, pixels: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OutputError, match="CIFAR10-images: No space left on device"):
        open_source("torchvision:CIFAR10", Options(cache=root))
    assert [file.name for file in root.iterdir()] == ["cifar-10-batches-py"]


def test_files_in_a_format_that_is_not_decoded_become_png(tmp_path, datasets):
    base = tmp_path / "gtsrb"
    for path, level in (("GTSRB/Training/00000/a.ppm", 10), ("GTSRB/Final_Test/Images/b.ppm", 20)):
        file = base / path
        file.parent.mkdir(parents=True)
        Image.new("RGB", (4, 3), (level, 0, 0)).save(file)
    (base / "GT-final_test.csv").write_text("Filename;ClassId\nb.ppm;7\n")
    listing = open_source("torchvision:GTSRB", Options(cache=tmp_path))
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
    listing = open_source("torchvision:EuroSAT", Options(cache=tmp_path))
    assert len(listing.images) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["eurosat"]


def test_without_download_the_network_is_not_asked(tmp_path, datasets, monkeypatch):
    monkeypatch.setattr(datasets.EuroSAT, "download", lambda self: pytest.fail("asked"))
    with pytest.raises(InputError, match=r"EuroSAT is not in .* or allow the download"):
        open_source("torchvision:EuroSAT", Options(cache=tmp_path, download=False))


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
        open_source("torchvision:EuroSAT", Options(cache=tmp_path / "file" / "sets"))


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
        open_source(f"torchvision:{name}", Options(cache=tmp_path, download=False))
