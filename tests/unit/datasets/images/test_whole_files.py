"""A file whose tail was never written is refused; what is merely unusual is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import jpeg, pixels
from odd_images import (
    encoded,
    exif_orientation,
    jpeg_with,
    picture,
    png_chunks,
    png_in_one_piece,
    png_of,
    zero_tail,
)
from PIL import Image

SMALL = Preprocess(40, 32)
PHOTO = picture(640, 480)
THUMBNAIL = encoded(picture(64, 48), "JPEG")
NOISY = (PHOTO // 2 + np.random.default_rng(0).integers(0, 120, PHOTO.shape)).astype(np.uint8)
FILES = {
    "JPEG": encoded(PHOTO, "JPEG", quality=92),
    "progressive JPEG": encoded(PHOTO, "JPEG", quality=92, progressive=True),
    "optimised JPEG": encoded(PHOTO, "JPEG", quality=70, optimize=True),
    "grey JPEG": encoded(PHOTO[..., 0], "JPEG"),
    "JPEG with a thumbnail": jpeg_with(
        encoded(PHOTO, "JPEG"), 0xE1, exif_orientation(1, 3) + THUMBNAIL
    ),
    "JPEG with restarts": encoded(PHOTO, "JPEG", restart_marker_rows=1),
    "PNG": encoded(PHOTO, "PNG"),
    "PNG in one piece": png_in_one_piece(encoded(PHOTO, "PNG")),
    "WebP": encoded(PHOTO, "WEBP", quality=90),
    "lossless WebP": encoded(PHOTO, "WEBP", lossless=True),
    "AVIF": encoded(PHOTO, "AVIF", quality=90),
}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.89])
@pytest.mark.parametrize("name", FILES)
def test_a_tail_of_zeros_is_refused(name, share):
    with pytest.raises(ImageError, match=r"(copy it again|truncated image)$"):
        pixels.decode(zero_tail(FILES[name], share), SMALL)


@pytest.mark.parametrize("name", FILES)
def test_a_tail_that_is_missing_is_refused(name):
    data = FILES[name]
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        pixels.decode(data[: len(data) // 2], SMALL)


@pytest.mark.parametrize("name", FILES)
def test_zeros_behind_the_image_are_harmless(name):
    whole = pixels.decode(FILES[name], SMALL)
    assert (pixels.decode(FILES[name] + bytes(160), SMALL) == whole).all()


def test_and_so_is_what_phones_append():
    data = FILES["JPEG"] + b"MotionPhoto" + bytes(4096) + b"\xff\xd9"
    assert (pixels.decode(data, SMALL) == pixels.decode(FILES["JPEG"], SMALL)).all()


@pytest.mark.parametrize("name", ["JPEG", "grey JPEG", "JPEG with a thumbnail"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_hole_of_zeros_in_a_jpeg_is_refused(name, share):
    data = FILES[name]
    start = int(len(data) * share)
    hole = data[:start] + bytes(4096) + data[start + 4096 :]
    with pytest.raises(ImageError, match="zeros"):
        pixels.decode(hole, SMALL)


def hole(data: bytes, start: int, size: int = 512) -> bytes:
    return data[:start] + bytes(size) + data[start + size :]


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [40, 95])
def test_a_hole_anywhere_in_a_progressive_jpeg_is_refused(mode, quality):
    image = Image.fromarray(NOISY).convert(mode)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, progressive=True)
    data = out.getvalue()
    first = list(jpeg.segments(data))[-1][2]
    assert pixels.decode(data, SMALL).shape == (32, 32, 3)
    for start in range(first, len(data) - 520, len(data) // 40):
        with pytest.raises(ImageError):
            pixels.decode(hole(data, start), SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"quality": 60}, {"quality": 95}, {"lossless": True}])
def test_a_hole_anywhere_in_a_webp_is_refused(options):
    data = encoded(NOISY[:240, :320], "WEBP", method=1, **options)
    assert pixels.decode(data, SMALL).shape == (32, 32, 3)
    for start in range(80, len(data) - 2100, len(data) // 12):
        with pytest.raises(ImageError):
            pixels.decode(hole(data, start, 2048), SMALL)


def test_a_hole_in_the_transparency_of_a_webp_is_refused():
    noise = np.random.default_rng(1).normal(208, 3, (240, 320, 1)).astype(np.uint8)
    data = encoded(np.dstack([NOISY[:240, :320], noise]), "WEBP", method=1)
    with pytest.raises(ImageError):
        pixels.decode(hole(data, data.index(b"ALPH") + 3000, 2048), SMALL)


@pytest.mark.parametrize("value", [0, 1, 127, 255])
@pytest.mark.parametrize("noisy", [False, True])
def test_a_webp_of_one_colour_is_no_hole(value, noisy):
    flat = np.full((480, 640, 3), value, np.uint8)
    if noisy:
        flat[200:260, 100:180] = NOISY[:60, :80]
    runs = 0
    for options in ({"quality": 100}, {"lossless": True, "quality": 0}):
        data = encoded(flat, "WEBP", method=0, **options)
        runs += bytes(256) in data
        assert pixels.decode(data, SMALL).shape == (32, 32, 3)
    assert runs


@pytest.mark.parametrize("start", [600, 700])
def test_a_hole_over_the_tables_before_the_data_is_refused(start):
    with pytest.raises(ImageError):
        pixels.decode(hole(encoded(NOISY, "JPEG", progressive=True), 200), SMALL)
    comment = jpeg_with(FILES["progressive JPEG"], 0xFE, b"x" * 500)
    with pytest.raises(ImageError):
        pixels.decode(hole(comment, start), SMALL)


@pytest.mark.cases(12)
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("value", [0, 128, 200, 255])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_surface_of_one_colour_is_no_hole(value, options, mode):
    flat = Image.new("RGB", (1200, 900), (value,) * 3).convert(mode)
    for quality in (50, 95):
        out = io.BytesIO()
        flat.save(out, "JPEG", quality=quality, **options)
        assert pixels.decode(out.getvalue(), SMALL).shape == (32, 32, 3)


@pytest.mark.parametrize("options", [{"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("value", [0, 255])
def test_a_photo_on_a_plain_background_is_no_hole_but_may_have_one(value, options):
    picture_of = np.full((900, 1200, 3), value, np.uint8)
    picture_of[300:600, 400:800] = NOISY[:300, :400]
    data = encoded(picture_of, "JPEG", quality=50, **options)
    assert bytes(256) in data
    assert pixels.decode(data, SMALL).shape == (32, 32, 3)
    middle = len(data) // 2
    with pytest.raises(ImageError, match="zeros"):
        pixels.decode(hole(data, middle), SMALL)


def test_rows_that_libjpeg_made_up_are_refused_but_grey_ones_are_not():
    data = FILES["JPEG"]
    short = data[: len(data) // 2] + b"\xff\xd9"  # damaged inside: its data end too early
    assert (np.asarray(Image.open(io.BytesIO(short)))[-8:] == 128).all()
    with pytest.raises(ImageError, match="last rows"):
        pixels.decode(short, SMALL)
    grey = PHOTO.copy()
    grey[-64:] = 128
    assert pixels.decode(encoded(grey, "JPEG"), SMALL).shape == (32, 32, 3)
    with pytest.raises(ImageError, match="last rows"):
        pixels.decode(short, Preprocess(480, 480))  # not reduced


def test_a_wrong_checksum_of_pixels_is_refused_and_of_others_is_not():
    chunks = list(png_chunks(FILES["PNG"]))
    with pytest.raises(ImageError, match="checksum"):
        pixels.decode(png_of(chunks, b"IDAT"), SMALL)
    text = [chunks[0], (b"tEXt", b"Comment\0hello"), *chunks[1:]]
    assert (
        pixels.decode(png_of(text, b"tEXt"), SMALL) == pixels.decode(png_of(chunks), SMALL)
    ).all()


def test_segments_stop_where_the_structure_breaks():
    assert list(jpeg.segments(b"\xff\xd8")) == []
    assert list(jpeg.segments(b"\xff\xd8\xff\xe0")) == []
    assert [marker for marker, _, _ in jpeg.segments(FILES["JPEG"])][-1] == 0xDA
