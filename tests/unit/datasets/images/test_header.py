"""Which files are decoded in the worker's thread: only those whose decoding is bounded."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from headstart.datasets.images import header, is_ordinary
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image


def encode(kind: str, size=(64, 48), mode="RGB", **options) -> bytes:
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (64, 48))] * 3}
TAGS = Image.Exif()
TAGS[0x0112] = 6
ORDINARY = {
    "JPEG": encode("JPEG"),
    "JPEG, grey": encode("JPEG", mode="L"),
    "JPEG, CMYK": encode("JPEG", mode="CMYK"),
    "JPEG, progressive": encode("JPEG", progressive=True),
    "JPEG, EXIF and a long profile": encode("JPEG", exif=TAGS, icc_profile=bytes(3_000_000)),
    "JPEG, restarts": encode("JPEG", restart_marker_rows=1),
    "MPO": encode("MPO", **FRAMES),
    "PNG": encode("PNG", dpi=(72, 72), exif=TAGS, icc_profile=bytes(5000)),
    "PNG, palette": encode("PNG", mode="P"),
    "PNG, animated": encode("PNG", **FRAMES),
    "WebP": encode("WEBP", exif=TAGS, icc_profile=bytes(5000)),
    "WebP, plain": encode("WEBP"),
    "WebP, lossless": encode("WEBP", lossless=True),
    "WebP, animated": encode("WEBP", **FRAMES),
    "GIF": encode("GIF", comment=b"hello"),
    "GIF, animated": encode("GIF", **FRAMES, loop=0, duration=40),
    "BMP": encode("BMP"),
    "BMP, palette": encode("BMP", mode="P"),
    "no image": b"hello",
}
PNG, JPEG, GIF, WEBP = (ORDINARY[name] for name in ("PNG", "JPEG", "GIF", "WebP"))


def sized(kind: str, width: int, height: int) -> bytes:
    """Give a file other sides than those of its pixels."""
    match kind:
        case "JPEG":
            at = JPEG.index(b"\xff\xc0") + 5
            return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]
        case "PNG":
            return PNG[:16] + struct.pack(">II", width, height) + PNG[24:]
        case "GIF":
            return GIF[:6] + struct.pack("<HH", width, height) + GIF[10:]
        case "WebP":
            sides = (struct.pack("<I", side - 1)[:3] for side in (width, height))
            return WEBP[:24] + b"".join(sides) + WEBP[30:]
        case "WebP, plain":
            plain = ORDINARY[kind]
            return plain[:26] + struct.pack("<HH", width, height) + plain[30:]
        case "WebP, lossless":
            plain = ORDINARY[kind]
            bits = struct.pack("<I", width - 1 | height - 1 << 14)
            return plain[:21] + bits + plain[25:]
    bmp = ORDINARY["BMP"]
    return bmp[:18] + struct.pack("<ii", width, -height) + bmp[26:]


def with_jpeg_segments(*segments: bytes) -> bytes:
    parts = (part[:2] + struct.pack(">H", len(part)) + part[2:] for part in segments)
    return JPEG[:2] + b"".join(parts) + JPEG[2:]


EXIF = b"\xff\xe1Exif\0\0" + bytes(60_000)
NOT_ORDINARY = {
    "TIFF": encode("TIFF"),
    "large file": JPEG + bytes(header._BYTES),
    "JPEG, many scans": JPEG.replace(b"\xff\xc0", b"\xff\xc2") + b"\xff\xda" * header._SCANS,
    "JPEG, many segments": with_jpeg_segments(*[b"\xff\xfe"] * header._SEGMENTS),
    "JPEG, fill bytes": JPEG[:2] + b"\xff" * 9 + JPEG[2:],
    "JPEG, two headers": JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :][:19] + JPEG[2:],
    "JPEG, EXIF in parts": with_jpeg_segments(EXIF, EXIF),
    "JPEG, arithmetic": JPEG.replace(b"\xff\xc0", b"\xff\xc9"),
    "JPEG, no header": JPEG.replace(b"\xff\xc0", b"\xff\xe5"),
    "PNG, many extras": PNG[:33] + chunk(b"teSt", b"") * header._EXTRAS + PNG[33:],
    "PNG, many chunks": PNG[:33] + chunk(b"IDAT", b"") * header._CHUNKS + PNG[33:],
    "PNG, much EXIF": PNG[:33] + chunk(b"eXIf", bytes(header._METADATA + 1)) + PNG[33:],
    "PNG, no header": PNG[:8] + PNG[33:],
    "PNG, no end": PNG[:-12],
    "WebP, much EXIF": encode("WEBP", exif=b"Exif\0\0" + bytes(header._METADATA + 8)),
    "WebP, many chunks": WEBP + b"teSt\0\0\0\0" * header._CHUNKS,
    "WebP, something else": WEBP[:12] + b"VP9 " + WEBP[16:],
    "GIF, long comment": GIF.replace(
        b"\x2c\0\0\0\0", b"\x21\xfe" + (b"\xff" + bytes(255)) * 300 + b"\0\x2c\0\0\0\0", 1
    ),
    "GIF, something else": GIF[:13] + GIF[13 + 768 :].replace(b"\x2c\0\0\0\0", b"\x2d\0\0\0\0"),
    "BMP, run lengths": ORDINARY["BMP, palette"][:30] + b"\1" + ORDINARY["BMP, palette"][31:],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_what_encoders_usually_write_is_ordinary(name):
    assert is_ordinary(ORDINARY[name])


@pytest.mark.parametrize("name", NOT_ORDINARY)
def test_what_may_take_long_is_not(name):
    assert not is_ordinary(NOT_ORDINARY[name])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WebP"])
def test_neither_are_many_pixels(kind):
    assert is_ordinary(sized(kind, 8000, 6000))
    assert not is_ordinary(sized(kind, 8000, 6400))


@pytest.mark.parametrize("kind", ["WebP, plain", "WebP, lossless"])
def test_nor_in_the_simple_forms_of_webp(kind):
    assert is_ordinary(sized(kind, 8000, 6000))
    assert not is_ordinary(sized(kind, 8000, 6400))


@pytest.mark.parametrize("name", [name for name in ORDINARY if name != "no image"])
def test_a_header_that_ends_is_not_ordinary_and_no_error(name):
    data = ORDINARY[name]
    for length in range(12, min(len(data), 200)):
        if header.kind(data[:length]):
            is_ordinary(data[:length])
    assert not is_ordinary(data[:13])


@given(st.sampled_from([*header._SIGNATURES, b"RIFF\0\0\0\0WEBP"]), st.binary(max_size=300))
def test_any_bytes_get_an_answer(start, rest):
    assert is_ordinary(start + rest) in (True, False)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"])
def test_signatures_are_pillows(kind):
    assert header.kind(encode(kind)) == kind.upper()
