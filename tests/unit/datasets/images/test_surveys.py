"""Images that show next to nothing are remarked on, and samples are drawn as they are stored."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from headstart.core.preprocess import Preprocess, canonical_range
from headstart.datasets import images
from headstart.datasets.images import depth, surveys
from odd_images import bmp, deep_png, encoded, picture, png_of, tiff
from PIL import Image

SMALL = Preprocess(40, 32)
PHOTO = picture(80, 80)
TWELVE = PHOTO.astype(np.uint16) << 4
CLEAR = np.dstack([PHOTO, np.zeros((80, 80), np.uint8)])
WHITE = np.full((80, 80, 3), 255, np.uint8)
LUMA = PHOTO[..., 0].astype("<u2")


def remark(data: bytes, rules: Preprocess = SMALL) -> str:
    return images.remark(data, images.decode(data, rules))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(PHOTO, "PNG"), ""),
        (deep_png(TWELVE), surveys.NARROW),
        (deep_png(TWELVE[..., :1]), surveys.NARROW),
        (tiff([(LUMA << 4).tobytes()], (80, 80), 16, 1), surveys.NARROW),
        (tiff([LUMA.tobytes()], (80, 80), 16, 1), surveys.PLAIN),
        (encoded(WHITE, "PNG"), surveys.PLAIN),
        (encoded(WHITE * 0, "JPEG"), surveys.PLAIN),
        (encoded(CLEAR, "PNG"), surveys.CLEAR),
        (encoded(CLEAR, "WEBP", lossless=True), surveys.CLEAR),
        (encoded(CLEAR, "TIFF"), surveys.CLEAR),
        (encoded(np.broadcast_to([200, 10, 10], (80, 80, 3)).astype("u1"), "PNG"), surveys.PLAIN),
    ],
)
def test_it_is_remarked_on(data, expected):
    assert remark(data) == expected
    assert expected in images.REMARKS or not expected


def test_a_tail_of_zeros_is_remarked_on_where_zeros_are_black():
    values = PHOTO.astype("<u4")
    rows = (values[..., 0] << 16 | values[..., 1] << 8 | values[..., 2]).astype("<u4").tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0)
    assert remark(bmp(rows, (80, 80), 32, masks, 108)) == ""
    half = rows[:20_000] + bytes(len(rows) - 20_000)
    assert remark(bmp(half, (80, 80), 32, masks, 108)) == surveys.ZEROS


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_blank_sectors_inside_raw_pixels_are_remarked_on_and_black_areas_are_not(kind):
    bright = (picture(120, 100) // 2 + 100).astype(np.uint8)
    data = encoded(bright, kind)
    assert remark(data) == ""
    blank = data[:8192] + bytes(8192) + data[16384:]
    assert remark(blank) == surveys.ZEROS
    black = bright.copy()
    black[20:60] = 0
    assert remark(encoded(black, kind)) == ""


def test_one_range_for_the_set_cures_it():
    ranged = Preprocess(40, 32, value_range="0:4095")
    assert remark(deep_png(TWELVE), ranged) == ""


def test_a_small_bright_spot_is_enough():
    crop = np.zeros((224, 224, 3), np.uint8)
    assert surveys.emptiness(b"", crop) == surveys.PLAIN
    crop[3, 3] = 200
    assert surveys.emptiness(b"", crop) == ""


@pytest.mark.parametrize(
    ("data", "deep", "largest"),
    [
        (encoded(PHOTO, "PNG"), False, 255),
        (deep_png(TWELVE), True, 4095),
        (tiff([(LUMA << 4).tobytes()], (80, 80), 16, 1), True, 4095),
        (tiff([PHOTO.tobytes()], (80, 80), 8, 2, 3), False, 255),
        (tiff([(LUMA.astype("<f4") / 100).tobytes()], (80, 80), 32, 1, t339=[3]), True, 2.55),
        (tiff([(LUMA.astype("<i2") - 300).tobytes()], (80, 80), 16, 1, t339=[2]), True, -45),
    ],
)
def test_values_are_those_of_the_file(data, deep, largest):
    is_deep, values = images.set_values(data)
    assert is_deep == deep
    assert len(values) <= surveys.VALUES
    assert values.max() <= largest
    assert values.max() > largest - 0.2 * abs(largest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0:4095", "0:4095"), ("-1:1.0", "-1:1"), ("0.25:1e3", "0.25:1000"), ("dtype", "dtype")],
)
def test_a_range_has_one_spelling(text, expected):
    assert canonical_range(text) == expected


@pytest.mark.parametrize("text", ["1", "5:2", "2:2", "0:inf", "nan:1", "a:b", "1:2:3", "percent"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of float or ours
        canonical_range(text)
    with pytest.raises(ValueError):  # noqa: PT011
        Preprocess(8, 8, value_range=text)


@pytest.mark.parametrize(
    ("value_range", "bits", "kind", "expected"),
    [
        ("0:4095", 16, depth.UNSIGNED, True),
        ("0:4095", 8, depth.UNSIGNED, False),
        ("0:200", 8, depth.UNSIGNED, True),
        ("-5:200", 8, depth.UNSIGNED, False),
        ("-5:100", 8, depth.SIGNED, True),
        ("0:1", 8, depth.UNSIGNED, False),
        ("0:1", 32, depth.FLOAT, True),
        ("dtype", 32, depth.FLOAT, False),
        ("", 16, depth.UNSIGNED, False),
    ],
)
def test_a_range_is_for_types_that_hold_it(value_range, bits, kind, expected):
    assert depth.applies(value_range, bits, kind) == expected


def test_photos_of_8_bits_stay_as_they_are_beside_deeper_ones():
    plain = images.decode(encoded(PHOTO, "PNG"), SMALL)
    deep = Preprocess(40, 32, value_range="0:4095")
    assert (images.decode(encoded(PHOTO, "PNG"), deep) == plain).all()
    eight = Preprocess((80, 80), (80, 80), "nearest", value_range="50:150")
    expected = np.rint(np.clip((PHOTO - 50.0) * 255 / 100, 0, 255))
    assert (images.decode(encoded(PHOTO, "PNG"), eight) == expected).all()
    assert (images.decode(encoded(PHOTO, "TIFF"), eight) == expected).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_is_that_of_the_file_whatever_the_range(mode):
    plain = Image.fromarray(PHOTO).convert(mode)
    colour = plain.getpixel((5, 7))
    data = encoded(np.asarray(plain), "PNG", transparency=colour)
    eight = Preprocess((80, 80), (80, 80), "nearest", value_range="0:200")
    assert colour != 255
    assert (images.decode(data, eight)[7, 5] == 255).all()


def test_a_transparent_grey_of_4_bits_is_that_of_the_file():
    grey = (np.arange(6400).reshape(80, 80) % 16).astype(np.uint8)
    rows = b"".join(b"\0" + (row[::2] << 4 | row[1::2]).tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", 80, 80, 4, 0, 0, 0, 0)
    content = zlib.compress(rows)
    data = png_of([(b"IHDR", header), (b"tRNS", b"\0\5"), (b"IDAT", content), (b"IEND", b"")])
    eight = Preprocess((80, 80), (80, 80), "nearest", value_range="0:200")
    expected = np.where(grey == 5, 255, np.rint(np.clip(grey * 17.0 * 255 / 200, 0, 255)))
    assert (images.decode(data, eight)[..., 0] == expected).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_large_images_are_scaled_by_a_table_to_the_same(dtype):
    every = np.arange(1 << 8 * np.dtype(dtype).itemsize).astype(f"u{dtype[1]}").view(dtype)
    large = np.resize(every, (300, 400))
    expected = np.rint(np.clip((large.astype(float) + 20) * 255 / 120, 0, 255))
    assert (depth.scale(large, -20, 100) == expected).all()
    assert (depth.scale(large[:2, :2], -20, 100) == expected[:2, :2]).all()
