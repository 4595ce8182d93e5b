"""The samples of a TIFF, of any depth and layout.

What is not compressed is read by numpy. Otherwise libtiff, through Pillow, unpacks the bytes of the
rows: it is shown the file as 8-bit grey, as wide as a row has bytes. So every kind of sample can be
read that libtiff can decompress, whether Pillow has a mode for it or not.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.core.errors import ImageError
from headstart.datasets.images.depth import FLOAT, SIGNED, UNSIGNED
from headstart.datasets.images.tiff_directory import Directory

COMPRESSIONS = {1, 5, 8, 32773, 32946, 34925, 50000}
_BAND = 1 << 26  # bytes of rows that are unpacked at once
_CUT = "truncated image"
_REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)


def read(data: bytes, tiff: Directory) -> NDArray[np.generic]:
    """Return the samples as ``(height, width, samples)`` numbers of the machine's byte order.

    Raises:
        ImageError: the file is truncated or damaged, or of a kind that is not read.
    """
    numeric = tiff.kind in (UNSIGNED, SIGNED, FLOAT) and 1 <= tiff.bits <= 64
    if tiff.compression not in COMPRESSIONS or not numeric:
        raise tiff.refusal
    if tiff.tile is not None and min(tiff.tile) < 1:
        raise ImageError("damaged image: a TIFF with tiles of no size")
    planes = tiff.samples if tiff.planar else 1
    parts = [_plane(data, tiff, plane) for plane in range(planes)]
    return parts[0] if planes == 1 else np.concatenate(parts, axis=2)


def _plane(data: bytes, tiff: Directory, plane: int) -> NDArray[np.generic]:
    channels = 1 if tiff.planar else tiff.samples
    width, height = tiff.tile or (tiff.width, min(tiff.rows, tiff.height))
    if width * channels * tiff.bits % 8 and tiff.tile is not None:
        raise tiff.refusal
    row = math.ceil(width * channels * tiff.bits / 8)
    across, down = math.ceil(tiff.width / width), math.ceil(tiff.height / height)
    first = plane * across * down
    if len(tiff.offsets) < first + across * down:
        raise ImageError(_CUT)
    step = max(1, _BAND // (row * across * height))
    out = []
    for start in range(0, down, step):
        count = min(step, down - start)
        rows = min(count * height, tiff.height - start * height)
        blocks = range(first + start * across, first + (start + count) * across)
        raw = _rows(data, tiff, blocks, (row, height, across, rows))
        out.append(_numbers(raw, tiff, across, width, channels)[:, : tiff.width])
    return out[0] if len(out) == 1 else np.concatenate(out)


def _rows(
    data: bytes, tiff: Directory, blocks: range, shape: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Return the bytes of some rows of blocks, ``(rows, across * row)``.

    ``shape`` has the bytes in a row of a block, the rows of a block, the blocks across, the rows.
    """
    row, height, across, rows = shape
    if tiff.compression != 1:
        return _unpacked(data, tiff, blocks, shape)
    out = np.empty((rows, across * row), np.uint8)
    for number, block in enumerate(blocks):
        top, left = number // across * height, number % across * row
        high = min(height, rows - top)
        start = int(tiff.offsets[block])
        if start < 0 or start + high * row > len(data):
            raise ImageError(_CUT)
        content = np.frombuffer(data, np.uint8, high * row, start)
        out[top : top + high, left : left + row] = content.reshape(high, row)
    return _REVERSED[out] if tiff.reversed_bits else out


def _unpacked(
    data: bytes, tiff: Directory, blocks: range, shape: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    row, height, across, rows = shape
    part = slice(blocks.start, blocks.stop)
    # Some writers leave the sizes out, so that a strip may reach as far as the file.
    all_sizes = tiff.sizes if len(tiff.sizes) else len(data) - tiff.offsets
    if len(all_sizes) < blocks.stop:
        raise ImageError(_CUT)
    offsets, sizes = tiff.offsets[part].tolist(), all_sizes[part].tolist()
    if min(offsets) < 0 or max(map(sum, zip(offsets, sizes, strict=True))) > len(data):
        raise ImageError(_CUT)
    tags = {256: [across * row], 257: [rows], 258: [8], 259: [tiff.compression], 262: [1]}
    tags |= {266: [2 if tiff.reversed_bits else 1], 277: [1]}
    if tiff.tile is None:
        tags |= {273: offsets, 278: [height], 279: sizes}
    else:
        tags |= {322: [row], 323: [height], 324: offsets, 325: sizes}
    with Image.open(io.BytesIO(_with_directory(data, tags)), formats=["TIFF"]) as image:
        return np.asarray(image)


def _with_directory(data: bytes, tags: dict[int, list[int]]) -> bytes:
    """Return a file whose first directory, of 32-bit numbers, is another one."""
    start = len(data) + len(data) % 2
    free = start + 2 + 12 * len(tags) + 4
    entries, rest = struct.pack("<H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        content = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            content, rest = struct.pack("<I", free + len(rest)), rest + content
        entries += struct.pack("<HHI", tag, 4, len(values)) + content
    head = b"II*\0" + struct.pack("<I", start)
    return head + data[8:] + bytes(start - len(data)) + entries + bytes(4) + rest


def _numbers(
    raw: NDArray[np.uint8], tiff: Directory, across: int, width: int, channels: int
) -> NDArray[np.generic]:
    """Return ``(rows, width, channels)`` numbers of the bytes of rows."""
    rows = len(raw)
    shape = rows, across * width, channels
    blocks = raw.reshape(rows, across, -1)
    if tiff.predictor == 3 and tiff.kind == FLOAT and tiff.bits in (16, 32, 64):
        return _floats(blocks, tiff.bits // 8, channels).reshape(shape)
    kind = _dtype(tiff)
    if kind is None:
        if tiff.predictor != 1 and tiff.compression != 1:
            raise tiff.refusal
        if tiff.bits == 24 and tiff.order == "<":
            raw = raw.reshape(rows, -1, 3)[..., ::-1].reshape(rows, -1)
        return np.concatenate(list(_unpacked_bits(raw, tiff.bits, shape)))
    values = np.ascontiguousarray(blocks).view(kind).astype(kind.newbyteorder("="))
    values = values.reshape(rows, across, width, channels)
    if tiff.predictor == 2 and tiff.compression != 1:
        if tiff.kind == FLOAT:
            raise tiff.refusal
        values = np.cumsum(values, axis=2, dtype=values.dtype)
    elif tiff.predictor not in (1, 2) and tiff.compression != 1:
        raise tiff.refusal
    return values.reshape(shape)


def _dtype(tiff: Directory) -> np.dtype[np.generic] | None:
    """Return the type of samples of whole bytes; None for those that need unpacking."""
    if tiff.kind == FLOAT:
        if tiff.bits not in (16, 32, 64):
            raise tiff.refusal
        return np.dtype(f"{tiff.order}f{tiff.bits // 8}")
    if tiff.bits in (8, 16, 32, 64):
        return np.dtype(f"{tiff.order}{'i' if tiff.kind == SIGNED else 'u'}{tiff.bits // 8}")
    if tiff.kind == SIGNED or (tiff.bits > 16 and tiff.bits != 24):
        raise tiff.refusal
    return None


def _unpacked_bits(
    raw: NDArray[np.uint8], bits: int, shape: tuple[int, int, int]
) -> Iterator[NDArray[np.uint32]]:
    """Yield rows of numbers whose bits follow each other, the highest first."""
    count = shape[1] * shape[2]
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.float32)
    step = max(1, (1 << 22) // max(1, count * bits))
    for start in range(0, len(raw), step):
        part = np.unpackbits(raw[start : start + step], axis=1, count=count * bits)
        values = part.reshape(-1, count, bits).astype(np.float32) @ weights
        yield values.astype(np.uint32).reshape(-1, *shape[1:])


def _floats(blocks: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.generic]:
    """Undo the predictor of floating point (Adobe Photoshop TIFF Technical Note 3)."""
    rows, across, length = blocks.shape
    steps = blocks.reshape(rows, across, length // channels, channels)
    steps = np.cumsum(steps, axis=2, dtype=np.uint8).reshape(rows, across, size, -1)
    numbers = np.ascontiguousarray(steps.swapaxes(2, 3)).view(f">f{size}")
    return numbers.astype(f"=f{size}")
