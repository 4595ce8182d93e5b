"""BMP files that Pillow does not read: odd masks, palettes of 2 bits, short run lengths."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.core.errors import ImageError
from headstart.datasets.images.header import MAX_PIXELS

_HEADER = 40  # bytes of the shortest header with masks
_MASKED = (3, 6)  # compressions
_RUN_LENGTHS = {1: 8, 2: 4}  # bits of a pixel, by compression
_OF_PILLOW = {  # the masks of red, green, blue and alpha that Pillow knows, by bits of a pixel
    16: {(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)},
    32: {
        (0xFF0000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0),
        (0xFF000000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        (0, 0, 0, 0),
    },
}


def open_unusual(data: bytes) -> Image.Image | None:
    """Return the image of a BMP that Pillow cannot read, mode RGB or RGBA; None for others.

    Raises:
        ImageError: it is truncated, or its masks make no colours.
    """
    if len(data) < 14 + _HEADER or int.from_bytes(data[14:18], "little") < _HEADER:
        return None
    size, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
    if width < 1 or not height or width * abs(height) > MAX_PIXELS:
        return None
    if bits == 2 and compression == 0:
        return Image.fromarray(_from_palette(data, size, width, height))
    if _RUN_LENGTHS.get(compression) == bits:
        return _from_run_lengths(data, height, bits)
    if compression not in _MASKED or bits not in (16, 32):
        return None
    *masks, alpha = struct.unpack_from("<4I", data, 14 + _HEADER)
    alpha = alpha if size >= 56 or compression == 6 else 0
    if (*masks, alpha) in _OF_PILLOW[bits] and compression == 3:
        return None
    return _masked(data, (width, height, bits), [*masks, *([alpha] if alpha else [])])


def _masked(data: bytes, shape: tuple[int, int, int], masks: list[int]) -> Image.Image:
    width, height, bits = shape
    values = _rows(data, width, height, bits).view(f"<u{bits // 8}")[:, :width].astype(np.uint32)
    bands = []
    for mask in masks:
        low = (mask & -mask).bit_length() - 1
        depth = (mask >> max(low, 0)).bit_length()
        if not mask or mask >> low != (1 << depth) - 1:
            raise ImageError(f"damaged BMP: the mask {mask:#x} is no colour")
        bands.append(_widened((values & mask) >> low, depth))
    if not bands[-1].any() and len(bands) > len("RGB"):
        bands.pop()  # a mask of alpha without alpha
    return Image.fromarray(np.dstack(bands))


def _widened(values: NDArray[np.integer], depth: int) -> NDArray[np.uint8]:
    """Return samples of any depth as 8 bits; fewer are scaled and rounded down, as by Pillow.

    So a picture is the same whether or not its masks are among those that Pillow knows.
    """
    if depth >= 8:
        return (values >> (depth - 8)).astype(np.uint8)
    return (values * 255 // ((1 << depth) - 1)).astype(np.uint8)


def _from_palette(data: bytes, size: int, width: int, height: int) -> NDArray[np.uint8]:
    (count,) = struct.unpack_from("<I", data, 46)
    table = np.zeros((4, 4), np.uint8)
    entries = np.frombuffer(data, np.uint8, 4 * min(count or 4, 4), 14 + size).reshape(-1, 4)
    table[: len(entries)] = entries
    rows = _rows(data, width, height, 2)
    index = (rows[..., np.newaxis] >> np.array([6, 4, 2, 0], np.uint8)) & 3
    return np.ascontiguousarray(table[index.reshape(len(rows), -1)[:, :width], 2::-1])


def _from_run_lengths(data: bytes, height: int, bits: int) -> Image.Image | None:
    """Let Pillow fill what follows the code "end of bitmap" with the first colour, as viewers do.

    Writers may end early; the code is replaced by jumps of 255 rows, which Pillow stops at the end.
    """
    (offset,) = struct.unpack_from("<I", data, 10)
    while offset + 1 < len(data):
        count, code = data[offset : offset + 2]
        if (count, code) == (0, 1):
            jumps = b"\0\2\0\xff" * (abs(height) // 255 + 1)
            return Image.open(io.BytesIO(data[:offset] + jumps), formats=["BMP"])
        offset += 2
        if not count and code == 2:
            offset += 2
        elif not count and code:
            size = math.ceil(code * bits / 8)
            offset += size + size % 2
    return None


def _rows(data: bytes, width: int, height: int, bits: int) -> NDArray[np.uint8]:
    """Return the bytes of the rows from top to bottom."""
    (offset,) = struct.unpack_from("<I", data, 10)
    length = (width * bits + 31) // 32 * 4
    if offset + length * abs(height) > len(data):
        raise ImageError("truncated image")
    rows = np.frombuffer(data, np.uint8, length * abs(height), offset).reshape(-1, length)
    return np.ascontiguousarray(rows[::-1] if height > 0 else rows)
