"""Real files of every format, damaged by the thousand: each ends as pixels or as one error.

A crash would end the test run, and a hang ends it too, with the stack of every thread.
"""

from __future__ import annotations

import faulthandler
import functools
import io
import random
import struct
import zlib

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import decode
from PIL import Image

SMALL = Preprocess(36, 32)
REASONABLE = 60  # different reasons for thousands of damages: they can be counted in a summary
FRAMES = {"save_all": True}
KINDS = {  # encoder, mode, options
    "JPEG": ("JPEG", "RGB", {}),
    "JPEG, progressive": ("JPEG", "RGB", {"progressive": True}),
    "JPEG, CMYK": ("JPEG", "CMYK", {"quality": 60}),
    "JPEG, restarts": ("JPEG", "RGB", {"restart_marker_rows": 1, "subsampling": 1}),
    "MPO": ("MPO", "RGB", FRAMES),
    "PNG": ("PNG", "RGB", {}),
    "PNG, palette": ("PNG", "P", {"transparency": 3}),
    "PNG, alpha": ("PNG", "RGBA", {}),
    "PNG, 16 bits": ("PNG", "I;16", {}),
    "PNG, bits": ("PNG", "1", {}),
    "PNG, animated": ("PNG", "RGB", FRAMES),
    "WebP": ("WEBP", "RGB", {}),
    "WebP, alpha": ("WEBP", "RGBA", {}),
    "WebP, lossless": ("WEBP", "RGB", {"lossless": True}),
    "WebP, animated": ("WEBP", "RGB", FRAMES),
    "BMP": ("BMP", "RGB", {}),
    "BMP, palette": ("BMP", "P", {}),
    "BMP, bits": ("BMP", "1", {}),
    "GIF": ("GIF", "P", {"transparency": 3}),
    "GIF, animated": ("GIF", "RGB", FRAMES),
    "TIFF": ("TIFF", "RGB", {}),
    "TIFF, LZW": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "TIFF, deflate": ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate"}),
    "TIFF, PackBits": ("TIFF", "CMYK", {"compression": "packbits"}),
    "TIFF, JPEG": ("TIFF", "RGB", {"compression": "jpeg"}),
    "TIFF, fax": ("TIFF", "1", {"compression": "group4"}),
    "TIFF, pages": ("TIFF", "RGB", FRAMES),
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@functools.cache
def intact(name: str) -> bytes:
    kind, mode, options = KINDS[name]
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    image = coarse.resize((48, 40), Image.Resampling.BICUBIC)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    tags = Image.Exif()
    tags[0x0112] = 6
    out = io.BytesIO()
    exif = {"exif": tags} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    if options == FRAMES:
        options = FRAMES | {
            "append_images": [Image.new("RGB", (48, 40), c) for c in ("red", "tan")]
        }
    image.save(out, kind, **exif, **options)
    return out.getvalue()


def runs(data: bytearray, rng: random.Random, _: bytes) -> None:
    """Overwrite, remove or insert a few bytes."""
    at, count = rng.randrange(len(data)), rng.randrange(1, 9)
    match rng.choice("ori"):
        case "o":
            data[at : at + count] = rng.randbytes(len(data[at : at + count]))
        case "r":
            del data[at : at + count]
        case "i":
            data[at:at] = rng.randbytes(count)


def flips(data: bytearray, rng: random.Random, _: bytes) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def header(data: bytearray, rng: random.Random, _: bytes) -> None:
    """Put an edge value into the first bytes, where sizes, depths and offsets are."""
    number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF))
    at = rng.randrange(min(len(data), 160))
    code = rng.choice("<>") + rng.choice("BHI")
    value = struct.pack(code, number & (256 ** struct.calcsize(code) - 1))
    data[at : at + len(value)] = value


def lengths(data: bytearray, rng: random.Random, _: bytes) -> None:
    """Change what looks like a length: a small number in two or four bytes."""
    for _ in range(50):
        at = rng.randrange(max(1, len(data) - 4))
        code = rng.choice(("<H", ">H", "<I", ">I"))
        size = struct.calcsize(code)
        if len(data) >= at + size and 0 < struct.unpack_from(code, data, at)[0] <= len(data):
            changed = rng.choice((0, 1, len(data), len(data) * 2, 256**size - 1))
            struct.pack_into(code, data, at, changed & (256**size - 1))
            return


def cuts(data: bytearray, rng: random.Random, _: bytes) -> None:
    del data[rng.randrange(len(data)) + 1 :]


def splices(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Continue in another file, or lay a piece of it over this one."""
    at, start = rng.randrange(len(data)), rng.randrange(len(other))
    end = len(data) if rng.random() < 0.3 else at + rng.randrange(1, 200)
    data[at:end] = other[start : start + rng.randrange(1, 400)]


def repeats(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randrange(1, 200)]
    data[at:at] = piece * rng.randrange(1, 30)


MUTATIONS = (runs, flips, header, lengths, cuts, splices, repeats)


def mend(data: bytearray) -> None:
    """Make the checksums of a PNG right again, so that damage gets beyond them."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        body = bytes(data[at + 4 : at + 8 + length])
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(body))
        at += 12 + length


def survive(name: str, seed: int, count: int) -> set[str]:
    """Decode that many damaged files; returns the reasons why they were refused."""
    rng = random.Random(f"{name} {seed}")
    whole, others = intact(name), [intact(other) for other in KINDS]
    reasons = set()
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 4))):
            if data:
                rng.choice(MUTATIONS)(data, rng, rng.choice(others))
        if name.startswith("PNG") and rng.random() < 0.7:
            mend(data)
        try:
            pixels = decode(bytes(data), SMALL)
        except ImageError as error:
            reasons.add(str(error))
        else:
            assert pixels.shape == (32, 32, 3)
            assert pixels.dtype == np.uint8
    return reasons


@pytest.mark.parametrize("name", KINDS)
def test_damage_gives_pixels_or_one_error(name, level):
    reasons = survive(name, seed=0, count={"quick": 60, "test": 200, "all": 500}[level])
    assert reasons
    assert all(reason.isprintable() and len(reason) < 200 for reason in reasons), reasons
    assert not any(" at 0x" in reason for reason in reasons)  # the same on every run
    assert not reasons & {"the decoder crashed on it", "no process to decode it in"}
    assert len(reasons) < REASONABLE, reasons


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", KINDS)
def test_much_damage(name, seed):
    survive(name, seed, count=1000)
