"""Trees of folders as people have them, and the same trees packed."""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from headstart.core.errors import InputError
from headstart.core.records import Listing
from headstart.datasets import Options, check_labels, open_source, stream, summary
from image_files import plant, refused

TWO = ("ice", "sea")


def classes(*folders: str, names: tuple[str, ...] = TWO, number: int = 3) -> list[str]:
    return [f"{folder}{name}/{n}.jpg" for folder in folders for name in names
            for n in range(number)]  # fmt: skip


def kinds(listing: Listing) -> dict[tuple[str | None, str], int]:
    return dict(Counter((image.label, image.split) for image in listing.images))


def both(split: str, number: int = 3) -> dict[tuple[str | None, str], int]:
    return {(name, split): number for name in TWO}


TRAIN_TEST = both("train") | both("test")
TRAIN_VALIDATION = both("train") | both("validation")

UNDERSTOOD = {
    # splits under other names
    "sets": (classes("training_set/", "test_set/"), TRAIN_TEST),
    "sets-twice": (classes("training_set/training_set/", "test_set/test_set/"), TRAIN_TEST),
    "seg": (
        [*classes("seg_train/seg_train/", "seg_test/seg_test/"), "seg_pred/seg_pred/7.jpg"],
        TRAIN_TEST | {(None, ""): 1},
    ),
    "data": (classes("train_data/", "test_data/"), TRAIN_TEST),
    "images": (classes("train_images/", "val_images/"), TRAIN_VALIDATION),
    "imgs": (classes("imgs_train/", "imgs_val/"), TRAIN_VALIDATION),
    "capitals": (classes("Train/", "Validate/"), TRAIN_VALIDATION),
    "eval": (classes("Train/", "eval/"), TRAIN_VALIDATION),
    "three": (
        classes("train/", "Evaluation Set/", "hold-out/"),
        both("train") | both("validation") | both("test"),
    ),
    "joined": (classes("TrainSet/", "testset/"), TRAIN_TEST),
    "numbered": (classes("train1/", "train2/", "test-1/"), both("train", 6) | both("test")),
    "years": (classes("train2017/", "val2017/"), TRAIN_VALIDATION),
    "named": (classes("sky_train/", "sky_test/"), TRAIN_TEST),
    "unlabeled": ([*classes("train/", "test/"), "unlabeled/1.jpg"], TRAIN_TEST | {(None, ""): 1}),
    # classes that hold the splits
    "class-first": (
        [f"{name}/{split}/{n}.jpg" for name in TWO for split in ("train", "test") for n in "123"],
        TRAIN_TEST,
    ),
    "class-first-deep": (
        [f"a/{name}/{split}_set/x/{n}.jpg" for name in TWO for split in ("train", "val")
         for n in "123"],
        TRAIN_VALIDATION,
    ),
    # folders that hold everything
    "archive": (classes("archive/train/", "archive/test/"), TRAIN_TEST),
    "deep": (classes("a/b c/d/"), both("")),
    "data-images": (classes("data/images/"), both("")),
    "train-images": (classes("train/images/"), both("train")),
    "below-splits": (classes("train/x/", "test/y/"), TRAIN_TEST),
    "beside-a-readme": (["demo.png", *classes("data/")], both("") | {(None, ""): 1}),
    "breeds": (["cat/1.jpg", "cat/tabby/1.jpg", "dog/pug/2.jpg"],
               {("cat", ""): 2, ("dog", ""): 1}),
    # test images without classes
    "flat": ([*classes("train/"), "test/1.jpg"], both("train") | {(None, "test"): 1}),
    "flat-below": ([*classes("train/"), "test/images/1.jpg"], both("train") | {(None, "test"): 1}),
    "flat-unknown": ([*classes("train/"), "test/unknown/1.jpg"],
                     both("train") | {(None, "test"): 1}),
    "some-unseen": ([*classes("train/"), "test/ice/1.jpg", "test/fog/1.jpg"],
                    both("train") | {("ice", "test"): 1, ("fog", "test"): 1}),
    # names that are only words
    "vehicles": (["train/1.jpg", "bus/1.jpg"], {("train", ""): 1, ("bus", ""): 1}),
    "tubes": (["test tube/1.jpg", "test strip/1.jpg"],
              {("test tube", ""): 1, ("test strip", ""): 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_tree_is_understood(name, tmp_path):
    files, right = UNDERSTOOD[name]
    plant(tmp_path / name, *files)
    listing = open_source(str(tmp_path / name))
    assert kinds(listing) == right
    check_labels(listing)


ASKED = {
    "other": (classes("train/", "other/"), "{}/train"),
    "flat-other": ([*classes("train/"), "extra/1.jpg"], "{}/train"),
    "two-sets": (classes("train/", "chest/train/"), "{}/train"),
    "sets-of-their-own": (classes("x/train/", "x/test/", "y/train/", "y/test/"), "{}/x"),
    "packed-twice": (
        classes("c/train/", "c/test/", "c/c/train/", "c/c/test/"),
        "{}/c/c",
    ),
    "masks": ([*classes("images/"), *classes("masks/")], "{}/images"),
    "folds": (classes("fold1/", "fold2/"), "{}/fold1"),
    "loose": (["train/1.jpg", "images/1.jpg"], "{}/images"),
    "mixed": ([*classes("ice/train/", "ice/test/", names=("1", "2")), "sea/1.jpg"], "{}/ice"),
    "cycle": (["trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg"], "train, validation and test"),
    "classes-in-names": (["ice_train/1.jpg", "ice_test/1.jpg", "sea_test/1.jpg"], "CSV"),
    "masks-in-classes": (classes("ice/", "sea/", names=("images", "masks")), "masks"),
    "masks-in-splits": (classes("train/", "test/", names=("images", "masks")), "masks"),
    "splits-in-a-split": (classes("train/train/", "train/val/", "test/"), "{}/train"),
    "labelled": ([*classes("labeled/"), "unlabeled/1.jpg"], "{}/labeled"),
    "first-is-a-split": (classes("rain/", "rain-test-set/"), "{}/rain-test-set"),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_tree_with_two_readings_is_asked_about(name, tmp_path):
    files, advice = ASKED[name]
    root = plant(tmp_path / name, *files)
    assert advice.format(root) in refused(root)
    predicted = [image for image in stream([str(root)]) if image]
    assert len(predicted) == len(files), "predicting needs no labels"
    assert len(open_source(str(root), Options(labels=False)).images) == len(files)


def test_people_with_and_without_masks_are_classes(tmp_path):
    plant(tmp_path, *classes("train/", "test/", names=("Mask", "No Mask")))
    assert open_source(str(tmp_path)).classes == ("Mask", "No Mask")


def test_the_command_that_is_advised_works(tmp_path):
    for name, (files, advice) in ASKED.items():
        if "{}" in advice:
            root = plant(tmp_path / name, *files)
            open_source(advice.format(root))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["ice/1.jpg", "ice/2.jpg"], "all labels in .* are ice"),
        (["train/ice/1.jpg", "test/ice/1.jpg"], "all labels in .* are ice"),
        (["train/ice.1.jpg", "train/sea.1.jpg", "test/1.jpg"], "have no folders of classes"),
        (["train/images/1.jpg", "train/labels/1.txt"], "1 file .txt"),
        (["1.jpg", "1.cls", "2.jpg", "2.cls"], "2 files .cls"),
    ],
)
def test_nothing_to_train_on_is_an_error_before_any_work(files, message, tmp_path):
    plant(tmp_path, *files)
    listing = open_source(str(tmp_path))
    with pytest.raises(InputError, match=message) as caught:
        check_labels(listing)
    assert "--no-labels" in str(caught.value)


def test_a_table_beside_flat_images_is_named(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "my labels.csv").write_text("file;class\n1.jpg;x\n2.jpg;y\n")
    with pytest.raises(InputError, match=r"headstart features '.*/my labels.csv'"):
        check_labels(open_source(str(tmp_path)))


def test_flat_images_alone_may_be_unlabelled(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg", "notes.md")
    check_labels(open_source(str(tmp_path)))


SYSTEM = (
    *("@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/old.jpg", "$RECYCLE.BIN/$R1.jpg"),
    *("lost+found/#12.jpg", "System Volume Information/x.jpg", "RECYCLER/S-1-5/x.jpg"),
    *("@Recycle/x.jpg", "@Recently-Snapshot/ice/1.jpg", "#snapshot/x/ice/1.jpg"),
    *("Temporary Items/x.jpg", "Network Trash Folder/x.jpg", "node_modules/a/x.jpg"),
    *("thumbnails/x.jpg", "__pycache__/x.jpg", "~$1.jpg", "__MACOSX/ice/._1.jpg", "Thumbs.db"),
)


@pytest.mark.parametrize("below", ["", "ice/", "train/", "train/ice/"])
@pytest.mark.parametrize("splits", [(), ("train/", "test/")])
def test_folders_of_the_system_are_passed_over_everywhere(splits, below, tmp_path):
    if below.startswith("train/") and not splits:
        pytest.skip("there is no such folder")
    plant(tmp_path, *classes(*(splits or ("",))))
    plant(tmp_path, *(below + name for name in SYSTEM))
    listing = open_source(str(tmp_path))
    assert kinds(listing) == (TRAIN_TEST if splits else both(""))
    assert listing.ignored == {"system file": len(SYSTEM)}


def packed(folder: Path, kind: str, top: str) -> Path:
    """Pack the files of a folder below ``top``."""
    files = {path: top + path.relative_to(folder).as_posix()
             for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip
    out = folder.parent / f"packed.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for path, name in files.items():
                archive.write(path, name)
    else:
        with tarfile.open(out, "w") as archive:
            for path, name in files.items():
                archive.add(path, name)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("top", ["", "photos/"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", [*UNDERSTOOD, "system", "metadata", "unrelated", "odd"])
def test_a_folder_and_its_archive_give_the_same_listing(name, kind, top, tmp_path):
    root = tmp_path / "photos"
    plant(root, *UNDERSTOOD.get(name, (classes(""), {}))[0])
    if name == "system":
        plant(root, *SYSTEM, *(f"ice/{file}" for file in SYSTEM), ".git/objects/1", ".hidden.jpg")
    if name == "metadata":
        (root / "metadata.csv").write_text("file_name;class;split\nice/0.jpg;x;Test Set\n")
    if name == "unrelated":
        (root / "metadata.csv").write_text("site,date\nA,1\n")
    if name == "odd":
        (root / "ice/9.jpg_large").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
        (root / "ice/notes.txt").write_text("none")
    here, there = open_source(str(root)), open_source(str(packed(root, kind, top)))
    assert there.images == here.images
    assert there.classes == here.classes
    assert there.ignored == here.ignored
    assert there.remarks == here.remarks
    assert summary(replace(there, name="x")) == summary(replace(here, name="x"))


def test_ignored_files_that_begin_like_images_are_mentioned(tmp_path):
    plant(tmp_path, *classes(""), "ice/notes.txt")
    for name in ("1.jpg_large", "2.jpg?w=200", "3.jpg.1", "4"):
        (tmp_path / "ice" / name).write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    (tmp_path / "ice/5.nef").write_bytes(b"II*\0" + bytes(20))
    listing = open_source(str(tmp_path))
    (remark,) = listing.remarks
    assert "4 of 6 ignored files" in remark
    assert listing.ignored["not an image: .jpg_large"] == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["ice/1.jpg", "sea/1.jpg", "test/1.jpg"], "folder test counts as a class"),
        (["ice/1.jpg", "sea/1.jpg", "unlabeled/1.jpg"], "folder unlabeled counts as a class"),
        (["ice/a/1.jpg", "ice/b/1.jpg", "sea/c/1.jpg"], "The classes are the outer folders"),
        (["ice/1.jpg", "nan/1.jpg"], "'nan' counts as a class"),
    ],
)
def test_doubtful_classes_are_mentioned(files, message, tmp_path):
    plant(tmp_path, *files)
    (remark,) = open_source(str(tmp_path)).remarks
    assert message in remark


def test_classes_that_look_alike_are_mentioned(tmp_path):
    plant(tmp_path, "Cat/1.jpg", "cat/1.jpg", "a b/1.jpg", "a\u00a0b/1.jpg", "a  b/1.jpg")
    listing = open_source(str(tmp_path))
    assert len(listing.classes) == 5
    assert sum("differ only in" in remark for remark in listing.remarks) == 2


def test_two_spellings_of_an_accent_are_one_class(tmp_path):
    plant(tmp_path, "train/Caf\u00e9/1.jpg", "train/dog/1.jpg", "test/Cafe\u0301/1.jpg")
    listing = open_source(str(tmp_path))
    assert listing.classes == ("Caf\u00e9", "dog")
    assert all((listing.root / image.path).exists() for image in listing.images)
