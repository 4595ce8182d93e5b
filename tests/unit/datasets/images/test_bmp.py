"""BMP with colour masks of any layout, and with an alpha mask that nothing uses."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import pixels
from odd_images import bmp, picture

PHOTO = picture(33, 20)
SIZE = 33, 20
EXACT = Preprocess((20, 33), (20, 33), "nearest")


def rows(values: np.ndarray, dtype: str) -> bytes:
    """Rows from the last to the first, each padded to four bytes."""
    wide = values.astype(dtype)[::-1]
    if wide.dtype.itemsize == 2:
        wide = np.pad(wide, [(0, 0), (0, wide.shape[1] % 2)])
    return wide.tobytes()


def joined(depths: tuple[int, ...], shifts: tuple[int, ...]) -> np.ndarray:
    parts = PHOTO.astype(np.uint32)
    return sum(
        (parts[..., k] >> (8 - depth) if depth <= 8 else parts[..., k] << (depth - 8)) << shift
        for k, (depth, shift) in enumerate(zip(depths, shifts, strict=True))
    )


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize(
    ("bits", "depths", "shifts"),
    [
        (32, (8, 8, 8), (0, 8, 16)),
        (32, (8, 8, 8), (8, 0, 24)),
        (32, (10, 10, 10), (22, 12, 2)),
        (32, (8, 8, 8), (16, 8, 0)),
        (32, (7, 18, 7), (25, 7, 0)),
        (32, (11, 11, 10), (21, 10, 0)),
        (16, (4, 4, 4), (8, 4, 0)),
        (16, (2, 3, 1), (4, 1, 0)),
        (16, (5, 6, 5), (0, 5, 11)),
        (16, (5, 6, 5), (11, 5, 0)),
    ],
)
def test_masks_of_any_order(header, bits, depths, shifts):
    masks = tuple(((1 << d) - 1) << s for d, s in zip(depths, shifts, strict=True))
    data = bmp(rows(joined(depths, shifts), f"<u{bits // 8}"), SIZE, bits, (*masks, 0), header)
    kept = np.array([min(depth, 8) for depth in depths])
    expected = (PHOTO >> (8 - kept)).astype(int) * 255 // ((1 << kept) - 1)
    assert (pixels.decode(data, EXACT) == expected).all()


@pytest.mark.parametrize("header", [56, 108, 124])
@pytest.mark.parametrize("shift", [0, 16])
def test_an_alpha_mask_without_alpha_is_opaque(header, shift):
    masks = (0xFF << shift, 0xFF00, 0xFF << (16 - shift), 0xFF000000)
    values = joined((8, 8, 8), (shift, 8, 16 - shift))
    empty = bmp(rows(values, "<u4"), SIZE, 32, masks, header)
    assert (pixels.decode(empty, EXACT) == PHOTO).all()
    half = values.copy()
    half[10:] |= 0xFF000000
    pixels_of = pixels.decode(bmp(rows(half, "<u4"), SIZE, 32, masks, header), EXACT)
    assert (pixels_of[:10] == 255).all()
    assert (pixels_of[10:] == PHOTO[10:]).all()


@pytest.mark.parametrize(
    ("bits", "depths", "shifts", "alpha"),
    [(32, (8, 8, 8), (8, 16, 0), 0xFF000000), (16, (4, 4, 4), (0, 4, 8), 0xF000)],
)
def test_an_empty_alpha_mask_beside_unusual_masks_is_opaque(bits, depths, shifts, alpha):
    masks = tuple(((1 << d) - 1) << s for d, s in zip(depths, shifts, strict=True))
    data = bmp(rows(joined(depths, shifts), f"<u{bits // 8}"), SIZE, bits, (*masks, alpha), 108)
    plain = bmp(rows(joined(depths, shifts), f"<u{bits // 8}"), SIZE, bits, (*masks, 0), 108)
    assert (pixels.decode(data, EXACT) == pixels.decode(plain, EXACT)).all()
    assert (pixels.decode(data, EXACT) != 255).any()


def test_an_empty_alpha_mask_is_opaque_with_a_range_too():
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = bmp(rows(joined((8, 8, 8), (16, 8, 0)), "<u4"), SIZE, 32, masks, 108)
    ranged = dataclasses.replace(EXACT, value_range="0:200")
    expected = np.rint(np.clip(PHOTO * 255.0 / 200, 0, 255))
    assert (pixels.decode(data, ranged) == expected).all()


def test_16_bits_with_alpha_are_laid_over_white():
    values = joined((4, 4, 4), (8, 4, 0))
    values[10:] |= 0xF000
    data = bmp(rows(values, "<u2"), SIZE, 16, (0xF00, 0xF0, 0xF, 0xF000), 124)
    assert (pixels.decode(data, EXACT)[:10] == 255).all()
    assert (pixels.decode(data, EXACT)[10:] == (PHOTO[10:] >> 4) * 17).all()


@pytest.mark.parametrize(
    ("depths", "shifts", "alpha"),
    [
        ((5, 5, 5), (10, 5, 0), 0x8000),
        ((5, 5, 5), (0, 5, 10), 0x8000),
        ((5, 5, 5), (11, 6, 1), 1),
        ((5, 6, 4), (0, 5, 11), 0x8000),
        ((4, 4, 4), (8, 4, 0), 0xF000),
        ((4, 4, 4), (12, 8, 4), 0xF),
    ],
)
def test_an_opaque_alpha_mask_changes_no_colour(depths, shifts, alpha):
    values = joined(depths, shifts)
    masks = tuple(((1 << d) - 1) << s for d, s in zip(depths, shifts, strict=True))
    opaque = bmp(rows(values | alpha, "<u2"), SIZE, 16, (*masks, alpha), 56)
    without = bmp(rows(values | alpha, "<u2"), SIZE, 16, (*masks, 0), 56)
    assert (pixels.decode(opaque, EXACT) == pixels.decode(without, EXACT)).all()
    most = (1 << np.array(depths)) - 1
    assert (pixels.decode(opaque, EXACT) == (PHOTO >> (8 - np.array(depths))) * 255 // most).all()


def test_a_palette_of_2_bits():
    index = (PHOTO[..., 0] >> 6).astype(np.uint8)
    table = np.array([[9, 8, 7], [50, 60, 70], [200, 100, 0], [255, 254, 253]], np.uint8)
    padded = np.pad(index, [(0, 0), (0, 15)])[:, :48].reshape(20, 12, 4)
    packed_rows = (padded << np.array([6, 4, 2, 0], np.uint8)).sum(2).astype(np.uint8)
    palette = b"".join(bytes([*colour[::-1], 0]) for colour in table)
    plain = bytearray(bmp(palette + packed_rows[::-1].tobytes(), SIZE, 2, (), 40))
    plain[30] = 0  # not compressed
    plain[10:14] = (14 + 40 + 16).to_bytes(4, "little")
    assert (pixels.decode(bytes(plain), EXACT) == table[index]).all()


@pytest.mark.parametrize("mask", [0, 0b1011])
def test_a_mask_that_makes_no_colour_is_refused(mask):
    data = bmp(rows(joined((8, 8, 8), (0, 8, 16)), "<u4"), SIZE, 32, (mask, 0xFF00, 0xFF, 0), 124)
    with pytest.raises(ImageError, match="mask"):
        pixels.decode(data, EXACT)


def test_a_file_that_ends_too_early_is_truncated():
    data = bmp(
        rows(joined((8, 8, 8), (0, 8, 16)), "<u4"), SIZE, 32, (0xFF, 0xFF00, 0xFF0000, 0), 124
    )
    with pytest.raises(ImageError, match="truncated"):
        pixels.decode(data[:-200], EXACT)


def run_lengths(codes: bytes, bits: int) -> bytes:
    palette = bytes((0, 0, 0, 0, 10, 20, 30, 0, 40, 50, 60, 0))
    offset = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, 4, 3, 1, bits, 1 if bits == 8 else 2, 0, 0, 0, 3, 0)
    start = struct.pack("<2sIHHI", b"BM", offset + len(codes), 0, 0, offset)
    return start + header + palette + codes


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("end", [b"\0\1", b"\0\0\0\1", b"\0\0\0\2\2\0\0\1"])
def test_run_lengths_may_end_early(bits, end):
    three = b"\0\3\x01\x20" if bits == 4 else b"\0\3\1\2\0\0"  # as they are, then padding
    colours = pixels.decode(run_lengths(three + end, bits), Preprocess((3, 4), (3, 4), "nearest"))
    expected = np.zeros((3, 4, 3))
    if bits == 8:
        expected[2, :2] = (30, 20, 10), (60, 50, 40)
    else:
        expected[2, 1:3] = (30, 20, 10), (60, 50, 40)
    assert (colours == expected).all()


def test_run_lengths_without_an_end_are_refused():
    data = run_lengths(b"\4\1\0\0\2\1", 8)
    with pytest.raises(ImageError):
        pixels.decode(data, EXACT)
