"""The block of lines that says how a source was understood."""

from __future__ import annotations

from pathlib import Path

from headstart.core.records import ImageRef
from headstart.datasets import summary
from headstart.datasets.listing import make_listing


def refs(*counts: tuple[str | None, str, int]) -> list[ImageRef]:
    return [ImageRef(f"{split}/{label}/{n}.jpg", label, split)
            for label, split, number in counts for n in range(number)]  # fmt: skip


def test_classes_and_splits_are_a_table():
    images = refs(("ice", "train", 1200), ("sea", "train", 30), ("sea", "test", 4), (None, "", 2))
    ignored = {"system file": 15, "not an image: .txt": 1, "not an image": 2, "hidden": 3}
    listing = make_listing(Path(), images, ignored, "photos", remarks=["One. " * 30])
    lines = summary(listing)
    assert lines[0] == "photos: 1,236 images in 2 classes"
    assert [line.split() for line in lines[1:5]] == [
        ["train", "test", "no", "split"],
        ["ice", "1200", "-", "-"],
        ["sea", "30", "4", "-"],
        ["(no", "label)", "-", "-", "2"],
    ]
    assert lines[5] == (
        "  ignored: 15 system files, 3 hidden, 2 files without an extension, 1 file .txt"
    )
    assert lines[6].startswith("  note: One.")
    assert all(len(line) <= 80 for line in lines)


def test_many_classes_and_long_names_are_shortened():
    images = refs(*((f"{n} {'x' * 90}", "", 1) for n in range(30)))
    lines = summary(make_listing(Path(), images, {}, "a" * 90))
    assert lines[0] == "a" * 90 + ":"
    assert any("18 more classes" in line for line in lines)
    assert len(lines) < 20
    assert all(len(line) <= 80 for line in lines[1:])


def test_names_cannot_write_to_the_terminal():
    lines = summary(make_listing(Path(), refs(("a\x1b[2J\n", "", 1), ("b", "", 1)), {}, "x\n"))
    assert all(line.isprintable() for line in lines)


def test_what_becomes_of_the_test_split_is_said():
    images = refs(("a", "train", 2), ("b", "train", 2), (None, "test", 3))
    assert "holds out 20 %" in text_of(images)
    images = refs(("a", "train", 2), ("b", "train", 2), ("a", "test", 2), ("c", "test", 3))
    assert "no image in the split train: c." in " ".join(
        summary(make_listing(Path(), images, {}, "x"))
    )
    images = refs(("a", "", 2))
    assert len(summary(make_listing(Path(), images, {}, "x"))) == 3


def text_of(images: list[ImageRef]) -> str:
    lines = summary(make_listing(Path(), images, {}, "x"))
    return " ".join(" ".join(lines).split())
