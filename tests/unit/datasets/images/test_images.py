"""The written policy of `datasets.images`, line by line, on bytes that real encoders wrote."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import import_torchvision
from headstart.datasets import images
from headstart.datasets.images import (
    crop_box,
    decode,
    miniature,
    read_file,
    save_jpeg,
    save_png,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

SIDE = 8
EXACT = Preprocess(SIDE, SIDE, "nearest")  # a square image of 8 pixels comes back as it is
REFERENCE = Preprocess(256, 224, "bicubic")
SEVERAL_FRAMES = {"GIF": {}, "WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}
ENCODINGS = {  # every way in which the six formats are usually written
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate TIFF": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "JPEG TIFF": ("TIFF", {"compression": "jpeg"}),
    "GIF": ("GIF", {}),
    "AVIF": ("AVIF", {}),
}

# What decoders remark on damaged bytes is for developers: the command line says nothing of it.
quiet = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), colour)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Draw something like a photograph: smooth shapes, edges and a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    edges = np.where(np.add.outer(np.arange(height), np.arange(width)) % 90 < 45, 30, 0)
    noise = rng.integers(-6, 7, pixels.shape)
    return Image.fromarray((pixels + edges[:, :, None] + noise).clip(0, 255).astype(np.uint8))


def png(depth: int, colour: int, row: bytes, *extra: bytes, size=(SIDE, SIDE)) -> bytes:
    """Write a PNG by hand, all of its rows equal: what Pillow writes are 8 bits a channel only."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    data = zlib.compress((b"\0" + row) * size[1])
    chunks = [b"IHDR" + header, *extra, b"IDAT" + data, b"IEND"]
    body = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def only_colour(pixels: np.ndarray) -> tuple[int, ...]:
    """Return the one colour of an array."""
    assert (pixels == pixels[0, 0]).all()
    return tuple(pixels[0, 0].tolist())


class TestFormats:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_the_formats_are_opened(self, encoding):
        kind, options = ENCODINGS[encoding]
        pixels = decode(encode(photo(60, 45), kind, **options), Preprocess(36, 32))
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        expected = decode(encode(photo(60, 45), "PNG"), Preprocess(36, 32))
        loss = 15 if kind == "GIF" else 8  # a palette is coarse
        assert np.abs(pixels.astype(int) - expected).mean() < loss

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA", "PPM", "JPEG2000", "ICNS"])
    def test_no_other_format_is_opened(self, kind):
        data = encode(photo(32, 32), kind)
        with pytest.raises(ImageError, match="not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image"):
            decode(data, EXACT)

    @pytest.mark.parametrize(
        "data",
        [
            b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
            b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(400),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
            b"once upon a time",
            b"<!DOCTYPE html><title>404 Not Found</title>",
            b"\0" * 4096,
            b"\n",
        ],
        ids=["SVG", "PSD", "EPS", "text", "HTML", "zeros", "newline"],
    )
    def test_what_is_no_image_is_refused(self, data):
        with pytest.raises(ImageError, match="not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image"):
            decode(data, EXACT)

    def test_an_empty_file_is_refused(self):
        with pytest.raises(ImageError, match="empty file"):
            decode(b"", EXACT)

    def test_a_multi_picture_jpeg_shows_its_first_picture(self):
        rest = [flat("RGB", (0, 0, 255))]
        data = encode(flat("RGB", (255, 0, 0)), "MPO", save_all=True, append_images=rest)
        assert Image.open(io.BytesIO(data)).n_frames == 2
        red, green, blue = only_colour(decode(data, EXACT))
        assert (red > 250, green < 5, blue < 5) == (True, True, True)

    @pytest.mark.parametrize("kind", SEVERAL_FRAMES)
    def test_the_first_frame_is_used(self, kind):
        rest = [flat("RGB", (0, 0, 255)), flat("RGB", (0, 255, 0))]
        first = flat("RGB", (255, 0, 0))
        options = SEVERAL_FRAMES[kind]
        data = encode(first, kind, save_all=True, append_images=rest, **options)
        assert Image.open(io.BytesIO(data)).n_frames == 3
        assert only_colour(decode(data, EXACT)) == (255, 0, 0)


UPRIGHT = np.zeros((16, 24, 3), np.uint8)  # four quarters of different colours
UPRIGHT[:8, :12], UPRIGHT[:8, 12:] = (250, 10, 10), (10, 250, 10)
UPRIGHT[8:, :12], UPRIGHT[8:, 12:] = (10, 10, 250), (240, 240, 20)
STORED = {  # EXIF: which sides of the upright image the stored row 0 and column 0 are
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(orientation: int) -> Image.Image:
    """Store `UPRIGHT` as a camera would that writes this orientation."""
    row, column = STORED[orientation]
    pixels = UPRIGHT if row in ("top", "bottom") else UPRIGHT.transpose(1, 0, 2)
    pixels = pixels[::-1] if row in ("bottom", "right") else pixels
    pixels = pixels[:, ::-1] if column in ("bottom", "right") else pixels
    return Image.fromarray(np.ascontiguousarray(pixels))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


class TestOrientation:
    preprocess = Preprocess(16, 16, "nearest")

    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize(
        ("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
    )
    def test_the_image_is_turned_upright(self, kind, options, orientation):
        data = encode(stored(orientation), kind, exif=exif(orientation), **options)
        assert (decode(data, self.preprocess) == UPRIGHT[:, 4:20]).all()

    @pytest.mark.parametrize("orientation", STORED)
    def test_in_a_jpeg_too(self, orientation):
        options = {"quality": 100, "subsampling": 0, "exif": exif(orientation)}
        pixels = decode(encode(stored(orientation), "JPEG", **options), self.preprocess)
        corners = pixels[1:-1, 1:-1][[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
        expected = UPRIGHT[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.abs(corners - expected).max() < 20

    @pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
    def test_an_orientation_that_means_nothing_counts_as_none(self, orientation):
        data = encode(stored(1), "PNG", exif=exif(orientation))
        assert (decode(data, self.preprocess) == UPRIGHT[:, 4:20]).all()

    @quiet
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("cut", [0, 4, 9, 14, 20, 25])
    def test_damaged_exif_counts_as_none(self, kind, cut):
        whole = exif(6).tobytes()
        damaged = whole[:cut] + b"\xff" * (len(whole) - cut)
        plain = decode(encode(stored(1), kind), self.preprocess)
        data = encode(stored(1), kind, exif=damaged)
        assert damaged in data or damaged[6:] in data
        assert (decode(data, self.preprocess) == plain).all()


class TestColour:
    def test_cmyk_is_converted_by_the_plain_formula(self):
        cyan, magenta, yellow, black = 200, 30, 90, 60
        expected = [(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)]
        image = flat("CMYK", (cyan, magenta, yellow, black))
        for data in (encode(image, "JPEG", quality=100), encode(image, "TIFF")):
            assert np.allclose(only_colour(decode(data, EXACT)), expected, atol=3)

    def test_ycbcr_is_converted(self):
        image = flat("RGB", (200, 100, 50)).convert("YCbCr")
        assert np.allclose(
            only_colour(decode(encode(image, "TIFF"), EXACT)), (200, 100, 50), atol=2
        )

    @pytest.mark.parametrize("mode", ["I;16", "I;16B"])
    @pytest.mark.parametrize(
        ("value", "expected"), [(0, 0), (255, 0), (0xABCD, 0xAB), (65535, 255)]
    )
    def test_16_bit_grey_keeps_its_high_byte_in_either_byte_order(self, mode, value, expected):
        dtype = ">u2" if mode == "I;16B" else "<u2"
        image = Image.frombytes(mode, (SIDE, SIDE), np.full((SIDE, SIDE), value, dtype).tobytes())
        data = encode(image, "TIFF")
        assert data.startswith(b"MM" if mode == "I;16B" else b"II")
        assert only_colour(decode(data, EXACT)) == (expected,) * 3

    @pytest.mark.parametrize(
        ("colour_type", "row", "expected"),
        [
            (0, struct.pack(">H", 0xABCD) * SIDE, (0xAB,) * 3),
            (2, struct.pack(">3H", 0xABCD, 0x12FF, 0xFF00) * SIDE, (0xAB, 0x12, 0xFF)),
            (4, struct.pack(">2H", 0xABCD, 0xFFFF) * SIDE, (0xAB,) * 3),
            (6, struct.pack(">4H", 0xABCD, 0x12FF, 0xFF00, 0xFFFF) * SIDE, (0xAB, 0x12, 0xFF)),
        ],
        ids=["grey", "colour", "grey with alpha", "colour with alpha"],
    )
    def test_a_16_bit_png_keeps_its_high_bytes(self, colour_type, row, expected):
        assert only_colour(decode(png(16, colour_type, row), EXACT)) == expected

    @pytest.mark.parametrize(
        ("depth", "row"), [(1, b"\xff"), (2, b"\xff\xff"), (4, b"\xff" * 4), (8, b"\xff" * 8)]
    )
    def test_grey_of_few_bits_fills_the_range(self, depth, row):
        assert only_colour(decode(png(depth, 0, row), EXACT)) == (255, 255, 255)
        assert only_colour(decode(png(depth, 0, bytes(len(row))), EXACT)) == (0, 0, 0)

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
    def test_black_and_white_becomes_rgb(self, kind):
        image = flat("1", 0)
        image.paste(1, (0, 0, 4, SIDE))
        pixels = decode(encode(image, kind), EXACT)
        assert only_colour(pixels[:, :4]) == (255, 255, 255)
        assert only_colour(pixels[:, 4:]) == (0, 0, 0)

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "JPEG"])
    def test_grey_becomes_rgb(self, kind):
        assert only_colour(decode(encode(flat("L", 77), kind), EXACT)) == (77, 77, 77)

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
    def test_a_palette_becomes_rgb(self, kind):
        image = flat("P", 1)
        image.putpalette([9, 9, 9, 30, 60, 90])
        image.putpixel((0, 0), 0)
        pixels = decode(encode(image, kind), EXACT)
        assert tuple(pixels[0, 0].tolist()) == (9, 9, 9)
        assert only_colour(pixels[1:]) == (30, 60, 90)

    def test_an_icc_profile_is_ignored(self):
        profile = b"\0\0\2\0none" + bytes(504)
        for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
            plain, tagged = (
                encode(flat("RGB", (200, 30, 60)), kind, **options)
                for options in ({}, {"icc_profile": profile})
            )
            assert profile not in plain
            assert kind == "PNG" or profile in tagged  # a PNG holds it compressed
            assert (decode(plain, EXACT) == decode(tagged, EXACT)).all()

    @pytest.mark.parametrize(
        ("mode", "words"), [("F", "floating"), ("I", "signed"), ("LAB", "L.a.b")]
    )
    def test_pixels_without_a_defined_range_are_refused(self, mode, words):
        with pytest.raises(ImageError, match=words):
            decode(encode(Image.new(mode, (SIDE, SIDE)), "TIFF"), EXACT)


class TestTransparency:
    @pytest.mark.parametrize("alpha", [0, 1, 64, 128, 254, 255])
    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
    def test_alpha_is_laid_over_white(self, kind, options, alpha):
        colour = (200, 100, 0)
        data = encode(flat("RGBA", (*colour, alpha)), kind, exact=True, **options)
        expected = [255 + (channel - 255) * alpha / 255 for channel in colour]
        assert np.allclose(only_colour(decode(data, EXACT)), expected, atol=1)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_grey_with_alpha_is_laid_over_white(self, kind):
        data = encode(flat("LA", (100, 51)), kind)
        assert np.allclose(only_colour(decode(data, EXACT)), 255 - 155 * 0.2, atol=1)

    def test_each_entry_of_a_palette_may_be_transparent(self):
        palette = b"PLTE" + bytes([200, 0, 0, 0, 100, 0, 0, 0, 50])
        row = bytes([0, 0, 0, 1, 1, 1, 2, 2])
        pixels = decode(png(8, 3, row, palette, b"tRNS" + bytes([0, 128])), EXACT)
        assert only_colour(pixels[:, :3]) == (255, 255, 255)
        assert np.allclose(only_colour(pixels[:, 3:6]), (127, 177, 127), atol=1)
        assert only_colour(pixels[:, 6:]) == (0, 0, 50)  # an entry that tRNS leaves out is opaque

    def test_a_gif_may_have_a_transparent_colour(self):
        image = flat("P", 1)
        image.putpalette([9, 9, 9, 30, 60, 90])
        image.paste(0, (0, 0, 4, SIDE))
        pixels = decode(encode(image, "GIF", transparency=0), EXACT)
        assert only_colour(pixels[:, :4]) == (255, 255, 255)
        assert only_colour(pixels[:, 4:]) == (30, 60, 90)

    @pytest.mark.parametrize(
        ("depth", "colour_type", "row", "key", "left", "right"),
        [
            (8, 0, bytes([5] * 4 + [200] * 4), (5,), (255,) * 3, (200,) * 3),
            (8, 2, bytes([5, 6, 7] * 4 + [9, 0, 0] * 4), (5, 6, 7), (255,) * 3, (9, 0, 0)),
            (1, 0, b"\x0f", (0,), (255,) * 3, (255,) * 3),
            (2, 0, b"\x55\xaa", (1,), (255,) * 3, (170,) * 3),
            (4, 0, b"\x55\x55\xaa\xaa", (5,), (255,) * 3, (170,) * 3),
            (16, 0, b"\x12\x34" * 4 + b"\x12\x35" * 4, (0x1234,), (255,) * 3, (0x12,) * 3),
            (16, 2, b"\x12\x34" * 12 + b"\xab\xcd" * 12, (0x1234,) * 3, (255,) * 3, (0xAB,) * 3),
        ],
        ids=["grey", "colour", "1 bit", "2 bits", "4 bits", "16 bits", "16-bit colour"],
    )
    def test_a_colour_key(self, depth, colour_type, row, key, left, right):
        trns = b"tRNS" + struct.pack(f">{len(key)}H", *key)
        pixels = decode(png(depth, colour_type, row, trns), EXACT)
        assert only_colour(pixels[:, :4]) == left
        assert only_colour(pixels[:, 4:]) == right


class TestDamage:
    @quiet
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_a_truncated_file_is_refused(self, encoding):
        kind, options = ENCODINGS[encoding]
        data = encode(photo(48, 40), kind, **options)
        for sixteenth in range(16):
            with pytest.raises(ImageError):
                decode(data[: len(data) * sixteenth // 16], EXACT)

    @quiet
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_a_file_cut_at_any_byte_never_gives_other_pixels(self, encoding):
        kind, options = ENCODINGS[encoding]
        data = encode(photo(SIDE, SIDE), kind, **options)
        whole = decode(data, EXACT)
        complete = 0
        for length in range(len(data)):
            try:
                pixels = decode(data[:length], EXACT)
            except ImageError:
                continue
            complete += 1
            assert (pixels == whole).all()
        assert complete < 32  # a PNG can do without its end, a GIF without its trailer

    def test_a_bomb_is_refused_before_it_is_decoded(self):
        started = time.perf_counter()
        data = png(8, 0, b"", size=(60_000, 60_000))
        with pytest.raises(ImageError, match="more than 178,956,970 pixels"):
            decode(data, EXACT)
        assert time.perf_counter() - started < 1

    @pytest.mark.parametrize(
        "data",
        [
            png(8, 0, b"", size=(0, 8)),
            png(8, 0, bytes(8), size=(8, 0)),
            b"GIF89a" + struct.pack("<HHBBB", 0, 0, 0, 0, 0) + b";",
            b"BM"
            + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 0, 0, 1, 24, 0, 0, 0, 0, 0, 0),
        ],
        ids=["PNG without width", "PNG without height", "GIF", "BMP"],
    )
    def test_an_image_without_pixels_is_refused(self, data):
        with pytest.raises(ImageError):
            decode(data, EXACT)


@pytest.fixture(scope="module")
def transforms():
    """Give torchvision's transforms, with which the pretrained networks were evaluated."""
    import_torchvision()
    from torchvision import transforms

    return transforms


class TestGeometry:
    @pytest.mark.cases(8)
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3000), (3000, 1), (7, 900), (5000, 300)])
    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
    def test_extreme_sizes_work(self, size, interpolation):
        pixels = decode(encode(photo(*size), "PNG"), Preprocess(36, 32, interpolation))
        assert pixels.shape == (32, 32, 3)
        assert pixels.flags.c_contiguous

    def test_the_centre_is_kept(self):
        image = Image.new("RGB", (300, 100), (0, 0, 0))
        image.paste((255, 255, 255), (100, 0, 200, 100))
        pixels = decode(encode(image, "PNG"), Preprocess(100, 100))
        assert only_colour(pixels) == (255, 255, 255)

    @given(width=st.integers(1, 30_000), height=st.integers(1, 30_000), exact=st.booleans())
    def test_the_box_lies_within_the_image(self, width, height, exact):
        crop = 256 if exact else 224
        left, top, right, bottom = np.float32(crop_box(width, height, Preprocess(256, crop)))
        assert 0 <= left < right <= width  # Pillow's box is single precision
        assert 0 <= top < bottom <= height

    @given(
        width=st.integers(1, 6000),
        height=st.integers(1, 6000),
        sizes=st.sampled_from([(256, 224), (224, 224), (235, 224), (36, 32), (33, 32), (299, 299)]),
    )
    def test_sizes_and_offsets_are_torchvisions(self, transforms, width, height, sizes):
        import torch

        resize, crop = sizes
        sized = transforms.functional._compute_resized_output_size((height, width), [resize])
        rows, columns = (torch.arange(side) for side in sized)
        corner = [
            int(transforms.CenterCrop(crop)(grid[None])[0, 0, 0])
            for grid in (rows[:, None].expand(sized), columns.expand(sized))
        ]
        left, top, right, bottom = crop_box(width, height, Preprocess(resize, crop))
        new_height, new_width = crop * height / (bottom - top), crop * width / (right - left)
        assert np.allclose((new_height, new_width), sized, rtol=1e-9)
        assert np.allclose((top * new_height / height, left * new_width / width), corner, atol=1e-6)

    @pytest.mark.cases(4)
    @pytest.mark.parametrize("seed", range(12))
    def test_pixels_are_torchvisions_but_for_rounding(self, transforms, seed):
        """One resize of the crop alone, where torchvision resizes first and then crops."""
        rng = np.random.default_rng(seed)
        image = photo(*rng.integers(150, 900, 2).tolist(), seed)
        bicubic = transforms.InterpolationMode.BICUBIC
        reference = transforms.Compose(
            [transforms.Resize(256, bicubic), transforms.CenterCrop(224)]
        )
        difference = np.abs(
            decode(encode(image, "PNG"), REFERENCE).astype(int) - np.asarray(reference(image))
        )
        assert difference.mean() < 0.3
        assert difference.max() <= 2

    @pytest.mark.cases(4)
    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize(("resize", "crop"), [((256, 256), 224), ((200, 260), (192, 224))])
    def test_a_fixed_size_is_torchvisions_too(self, transforms, seed, resize, crop):
        """Proportions are given up, as timm's crop mode ``squash`` does."""
        rng = np.random.default_rng(seed)
        image = photo(*rng.integers(150, 900, 2).tolist(), seed)
        bicubic = transforms.InterpolationMode.BICUBIC
        reference = transforms.Compose(
            [transforms.Resize(resize, bicubic), transforms.CenterCrop(crop)]
        )
        preprocess = Preprocess(resize, crop, "bicubic")
        ours = decode(encode(image, "PNG"), preprocess)
        assert ours.shape == (*preprocess.size, 3)
        difference = np.abs(ours.astype(int) - np.asarray(reference(image)))
        assert difference.mean() < 0.3
        assert difference.max() <= 2

    @pytest.mark.further("test_a_fixed_size_is_torchvisions_too")
    @pytest.mark.slow
    def test_a_fixed_size_of_a_large_photo_on_its_side(self):
        """Decoded at a fraction, and turned afterwards: no side may fall short."""
        image = photo(1600, 2400)
        upright = decode(encode(image, "PNG"), Preprocess((40, 60), (32, 48)))
        turned = image.transpose(Image.Transpose.ROTATE_90)
        data = encode(turned, "JPEG", exif=exif(6), quality=95)
        got = decode(data, Preprocess((40, 60), (32, 48)))
        assert np.abs(got.astype(int) - upright).mean() < 4


class TestReadFile:
    def test_bytes_and_state(self, tmp_path):
        path = tmp_path / "a b\n.jpg"
        path.write_bytes(b"content")
        data, info = read_file(path)
        assert data == b"content"
        assert (info.st_size, info.st_mtime_ns) == (7, path.stat().st_mtime_ns)

    def test_a_link_is_followed(self, tmp_path):
        (tmp_path / "real").write_bytes(b"content")
        (tmp_path / "link").symlink_to("real")
        assert read_file(tmp_path / "link")[0] == b"content"

    def test_a_fifo_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(ImageError, match="not a regular file"):
            read_file(tmp_path / "pipe.jpg")

    def test_neither_do_devices(self):
        for device in ("/dev/null", "/dev/zero"):
            with pytest.raises(ImageError, match="not a regular file"):
                read_file(Path(device))

    def test_a_folder_is_refused_and_no_descriptor_is_lost(self, tmp_path):
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no paths are made of these
        for _ in range(5):
            with pytest.raises(ImageError, match="not a regular file"):
                read_file(tmp_path)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("missing.jpg", "file not found"),
            ("dangling.jpg", "file not found"),
            ("circle.jpg", "cannot be read: Too many levels of symbolic links"),
            ("file.txt/below.jpg", "cannot be read: Not a directory"),
            ("n" * 300, "cannot be read: File name too long"),
            ("nul\0.jpg", "cannot be read: embedded null byte"),
        ],
        ids=["missing", "dangling link", "link circle", "below a file", "long name", "NUL"],
    )
    def test_what_is_not_there_has_a_reason(self, tmp_path, name, reason):
        (tmp_path / "dangling.jpg").symlink_to("nowhere")
        (tmp_path / "circle.jpg").symlink_to("circle.jpg")
        (tmp_path / "file.txt").touch()
        with pytest.raises(ImageError, match=f"^{reason}$"):
            read_file(tmp_path / name)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_file_without_permission(self, tmp_path):
        path = tmp_path / "secret.jpg"
        path.touch(mode=0)
        with pytest.raises(ImageError, match="cannot be read: Permission denied"):
            read_file(path)

    @pytest.mark.parametrize("size", [0, 5, 100, 200_000])
    def test_a_file_that_changes_while_it_is_read_is_refused(self, tmp_path, monkeypatch, size):
        path = tmp_path / "growing.jpg"
        path.write_bytes(bytes(1000))
        stat = os.fstat

        def change_after(handle):
            info = stat(handle)
            os.truncate(path, size)
            return info

        monkeypatch.setattr(os, "fstat", change_after)
        with pytest.raises(ImageError, match="the file changed while it was read"):
            read_file(path)

    def test_a_file_without_end_is_not_read_for_ever(self):
        """Files of the kernel say that they hold nothing."""
        with pytest.raises(ImageError, match="the file changed while it was read"):
            read_file(Path("/proc/self/maps"))

    def test_a_file_too_large_is_not_read(self, tmp_path):
        path = tmp_path / "sparse.tif"
        with path.open("wb") as file:
            file.truncate(images.MAX_FILE_BYTES + 1)
        with pytest.raises(ImageError, match="larger than 1,024 MiB"):
            read_file(path)


class TestRest:
    def test_the_policy_is_part_of_the_identity(self):
        assert Preprocess(256, 224).policy == images.POLICY

    def test_pixels_of_the_policy_do_not_change_unnoticed(self):
        """Where this digest has to change, `POLICY` has to as well: stores would be mixed."""
        cases = [
            encode(stored(6), "PNG", exif=exif(6)),
            encode(flat("RGBA", (200, 100, 0, 77)), "PNG"),
            encode(flat("CMYK", (200, 30, 90, 60)), "TIFF"),
            png(16, 0, struct.pack(">H", 0xABCD) * SIDE),
            png(8, 0, bytes([5] * 4 + [200] * 4), b"tRNS\0\5"),
        ]
        pixels = b"".join(decode(data, EXACT).tobytes() for data in cases)
        assert images.POLICY == 4
        assert (
            hashlib.sha256(pixels).hexdigest()
            == "74798ac8e48c25e6e9af821c14bfdec95c08a6d8bf657c48e320ed5292aed441"
        )

    @pytest.mark.parametrize(
        ("policy", "digest"),
        [
            (3, "6d281312f2af526962d489f146fac7128832fc65fb5c8dc69c5fe2c332e20e61"),
            (4, "63358587359246218a099eefeecc54140f962cf85937d6cac655b5e61cefca06"),
        ],
    )
    def test_resized_pixels_of_each_policy_do_not_change_unnoticed(self, policy, digest):
        """As above. Images of about these proportions are alike in Pillow 12 and 13."""
        noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
        data = encode(Image.fromarray(noise), "PNG")
        pixels = b"".join(
            decode(data, Preprocess(36, 32, interpolation, policy)).tobytes()
            for interpolation in ("bilinear", "bicubic", "lanczos")
        )
        assert hashlib.sha256(pixels).hexdigest() == digest

    def test_a_miniature_is_an_average(self):
        crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        small = miniature(crop)
        assert small.shape == (32, 32, 3)
        assert small.dtype == np.uint8
        assert np.abs(small - crop.reshape(32, 2, 32, 2, 3).mean((1, 3))).max() <= 1

    def test_a_miniature_of_any_crop(self):
        crop = np.full((224, 224, 3), 77, np.uint8)
        assert only_colour(miniature(crop)) == (77, 77, 77)
        assert miniature(crop).shape == (32, 32, 3)

    def test_what_is_saved_can_be_read(self, tmp_path):
        pixels = np.asarray(photo(64, 64))
        save_png(tmp_path / "a.png", pixels)
        save_jpeg(tmp_path / "a.jpg", pixels)
        preprocess = Preprocess(64, 64)
        assert (decode((tmp_path / "a.png").read_bytes(), preprocess) == pixels).all()
        data = (tmp_path / "a.jpg").read_bytes()
        assert data.startswith(b"\xff\xd8")
        assert np.abs(decode(data, preprocess).astype(int) - pixels).mean() < 8
