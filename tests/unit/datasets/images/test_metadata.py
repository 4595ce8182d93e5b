"""Pixels are not lost for damaged metadata, and what cannot be opened is called what it is."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import pixels
from odd_images import (
    deep_png,
    encoded,
    exif_orientation,
    jpeg_with,
    picture,
    png_chunks,
    png_of,
    png_with,
)

PHOTO = picture()
EXACT = Preprocess((64, 96), (64, 96), "nearest")
PNG, JPEG = encoded(PHOTO, "PNG"), encoded(PHOTO, "JPEG", quality=92)
NOISE = np.random.default_rng(5).bytes(1_500_000)
CHUNKS = {
    "a large profile": (b"iCCP", b"p\0\0" + zlib.compress(NOISE)),
    "a long compressed text": (b"zTXt", b"Comment\0\0" + zlib.compress(b"lorem ipsum " * 125_000)),
    "long XMP": (
        b"iTXt",
        b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x>lorem</x>" * 125_000),
    ),
    "a very long text": (b"tEXt", b"Comment\0" + b"lorem ipsum " * 6_000_000),
    **{
        f"short {name.decode()}": (name, content)
        for name, content in {
            b"pHYs": b"\0\0",
            b"gAMA": b"\0",
            b"cHRM": b"\0\0\0",
            b"sRGB": b"",
            b"acTL": b"\0\0\0",
            b"tRNS": b"\0",
            b"iCCP": b"no-nul-here",
        }.items()
    },
    "an unknown compression of a profile": (b"iCCP", b"p\0\7" + zlib.compress(bytes(900))),
    "an unknown compression of a text": (b"zTXt", b"C\0\x09" + zlib.compress(b"x")),
}
SPOILT = {
    b"pHYs": b"\0\0\1\0\0\0\1\0\1",
    b"tEXt": b"Comment\0hello",
    b"iCCP": b"p\0\0" + zlib.compress(bytes(500)),
    b"gAMA": struct.pack(">I", 45455),
    b"eXIf": b"MM\0*\0\0\0\x08\0\0",
    b"prVt": b"abc",
}
SEGMENTS = {
    "JFIF of 5 bytes": (0xE0, b"JFIF\0"),
    "Adobe of 5 bytes": (0xEE, b"Adobe"),
    "a profile without its numbers": (0xE2, b"ICC_PROFILE\0"),
    "a profile with one number": (0xE2, b"ICC_PROFILE\0\1"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestPng:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", CHUNKS)
    def test_damaged_metadata_cost_nothing(self, name):
        assert (pixels.decode(png_with(PNG, *CHUNKS[name]), EXACT) == PHOTO).all()

    @pytest.mark.parametrize("name", SPOILT)
    def test_nor_does_their_checksum(self, name):
        assert (pixels.decode(png_with(PNG, name, SPOILT[name], spoilt=True), EXACT) == PHOTO).all()

    def test_sound_exif_still_turns_the_image(self):
        turned = encoded(np.ascontiguousarray(np.rot90(PHOTO)), "PNG")
        with_exif = png_with(turned, b"eXIf", exif_orientation(6, 3)[6:])
        assert (pixels.decode(png_with(with_exif, b"pHYs", b"\0"), EXACT) == PHOTO).all()

    @pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
    def test_what_holds_pixels_must_be_right(self, name):
        grey = encoded(PHOTO[..., 0], "PNG")
        chunks = list(png_chunks(grey))
        if name == b"PLTE":
            header = bytearray(chunks[0][1])
            header[9] = 3
            chunks = [(b"IHDR", bytes(header)), (b"PLTE", bytes(range(256)) * 3), *chunks[1:]]
        with pytest.raises(ImageError, match="PNG"):
            pixels.decode(png_of(chunks, name), EXACT)

    def test_defects_of_the_header_are_named(self):
        (_, header), *rest = png_chunks(PNG)
        no_type = (b"IHDR", header[:9] + b"\1" + header[10:])
        with pytest.raises(ImageError, match="colour type 1"):
            pixels.decode(png_of([no_type, *rest]), EXACT)
        with pytest.raises(ImageError, match="PNG without pixels"):
            pixels.decode(png_of([(b"IHDR", header), (b"IEND", b"")]), EXACT)


class TestJpeg:
    @pytest.mark.parametrize("name", SEGMENTS)
    def test_damaged_metadata_cost_nothing(self, name):
        expected = pixels.decode(JPEG, EXACT)
        data = jpeg_with(JPEG, *SEGMENTS[name])
        if name.startswith("JFIF"):
            data = jpeg_with(b"\xff\xd8" + JPEG[20:], *SEGMENTS[name])
        assert (pixels.decode(data, EXACT) == expected).all()

    def test_sound_exif_still_turns_the_image(self):
        turned = encoded(np.ascontiguousarray(np.rot90(PHOTO)), "JPEG", subsampling=0, quality=100)
        data = jpeg_with(jpeg_with(turned, 0xE1, exif_orientation(6, 3)), 0xE2, b"ICC_PROFILE\0")
        assert np.abs(pixels.decode(data, EXACT).astype(int) - PHOTO).max() < 10


@pytest.mark.parametrize(
    ("marker", "depth", "components", "words"),
    [
        (0xC1, 12, 3, "12 bits"),
        (0xC3, 8, 3, "lossless"),
        (0xC5, 8, 3, "hierarchical"),
        (0xF7, 8, 3, "JPEG-LS"),
        (0xC0, 8, 2, "2 components"),
    ],
)
def test_a_jpeg_of_another_coding_is_named(marker, depth, components, words):
    frame = JPEG.index(b"\xff\xc0")
    data = bytearray(JPEG)
    data[frame + 1], data[frame + 4], data[frame + 9] = marker, depth, components
    with pytest.raises(ImageError, match=words):
        pixels.decode(bytes(data), EXACT)


@pytest.mark.parametrize("code", [1, 3, 4, 6, 8, 9])
def test_an_orientation_of_any_type_of_integer_turns_the_image(code):
    turned = encoded(np.ascontiguousarray(np.rot90(PHOTO)), "JPEG", subsampling=0, quality=100)
    data = jpeg_with(turned, 0xE1, exif_orientation(6, code))
    assert np.abs(pixels.decode(data, EXACT).astype(int) - PHOTO).max() < 10


class TestDeepPng:
    deep = PHOTO.astype(np.uint16) << 4 | PHOTO >> 4  # 12 bits

    def test_significant_bits_in_the_low_ones_are_scaled(self):
        for samples in (self.deep, self.deep[..., :1]):
            data = deep_png(samples, (b"sBIT", bytes([12] * samples.shape[2])))
            assert (pixels.decode(data, EXACT) == np.broadcast_to(samples >> 4, PHOTO.shape)).all()

    def test_significant_bits_in_the_high_ones_are_what_png_means(self):
        high = self.deep << 4
        for samples in (high | high >> 12, high // 20 * 1 & 0xFFF0):
            data = deep_png(samples, (b"sBIT", b"\x0c\x0c\x0c"))
            assert (pixels.decode(data, EXACT) == samples >> 8).all()

    def test_every_channel_of_16_bits_takes_the_range_of_the_set(self):
        alpha = np.full((64, 96, 1), 0xFFFF, np.uint16)
        ranged = Preprocess((64, 96), (64, 96), "nearest", value_range="0:4095")
        expected = np.rint(self.deep * 255.0 / 4095).astype(np.uint8)
        for samples in (self.deep, np.dstack([self.deep, alpha])):
            assert (pixels.decode(deep_png(samples), ranged) == expected).all()
        grey = self.deep[..., :1]
        for samples in (grey, np.dstack([grey, alpha])):
            assert (pixels.decode(deep_png(samples), ranged) == expected[..., :1]).all()

    def test_a_colour_key_is_compared_exactly(self):
        samples = self.deep[..., :1].copy()
        samples[samples == 7] = 8
        samples[:8, :8] = 7
        ranged = Preprocess((64, 96), (64, 96), "nearest", value_range="0:4095")
        data = deep_png(samples, (b"tRNS", struct.pack(">H", 7)))
        assert (pixels.decode(data, ranged)[:8, :8] == 255).all()
        assert (
            pixels.decode(data, ranged)[8:, :, 0] == np.rint(samples[8:, :, 0] * 255.0 / 4095)
        ).all()
