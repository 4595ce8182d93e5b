"""The order of images, and the line that sums a listing up."""

from __future__ import annotations

import pytest
from headstart.core.records import ImageRef
from headstart.datasets import describe, open_source
from headstart.datasets.listing import make_listing
from image_files import (
    plant,
)


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
