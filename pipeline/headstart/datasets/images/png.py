"""PNG files as sequences of chunks: whether they are whole, and what of them holds pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from headstart.core.errors import ImageError

DAMAGED = "damaged PNG: the checksum of its pixels is wrong; copy it again"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEY_BYTES = {0: 2, 2: 6}  # of tRNS by colour type
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and length of the content of each chunk, as far as they are whole."""
    offset = len(_SIGNATURE)
    while offset + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, offset)
        if offset + 12 + length > len(data) or not name.isalpha():
            return
        yield name, offset + 8, length
        if name == b"IEND":
            return
        offset += 12 + length


def check(data: bytes) -> None:
    """Raise an `ImageError` if a checksum of the compressed pixels is wrong."""
    view = memoryview(data)
    for name, start, length in chunks(data):
        if name == b"IDAT":
            end = start + length
            if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
                raise ImageError(DAMAGED)


def essentials(data: bytes) -> bytes:
    """Return a PNG without the chunks that hold no pixels, but with sound EXIF."""
    colour, parts = data[25:26], [_SIGNATURE]
    for name, start, length in chunks(data):
        end = start + length
        if name == b"tRNS":
            keep = length == _KEY_BYTES.get(int.from_bytes(colour), length) and 0 < length <= 256
        elif name == b"eXIf":
            crc = int.from_bytes(data[end : end + 4], "big")
            keep = crc == zlib.crc32(data[start - 4 : end])
        else:
            keep = name in (b"IHDR", b"PLTE", b"IDAT", b"IEND")
        if keep:
            parts.append(data[start - 8 : end + 4])
    return b"".join(parts)


def defect(data: bytes) -> str:
    """Return what is wrong with a PNG that no decoder opens."""
    names = {name for name, _, _ in chunks(data)}
    if b"IHDR" not in names or len(data) < 33:
        return "truncated image" if len(data) < 33 else "damaged image: a PNG without a header"
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        return "damaged image: the checksum of the PNG's header is wrong"
    if data[24] not in _DEPTHS.get(data[25], ()):
        return f"damaged image: no PNG has colour type {data[25]} with {data[24]} bits"
    if b"IDAT" not in names:
        return "truncated image" if b"IEND" not in names else "damaged image: a PNG without pixels"
    return "damaged image: a PNG that cannot be decoded"


def significant_bits(data: bytes) -> int:
    """Return the bits of a 16-bit PNG that its chunk sBIT calls significant; 16 without one."""
    if data[24] != 16:
        return 16
    for name, start, length in chunks(data):
        if name == b"sBIT" and length:
            return max(1, min(16, max(data[start : start + min(length, 3)])))
        if name == b"IDAT":
            break
    return 16


def is_deep(data: bytes) -> bool:
    """Tell whether a PNG has samples of 16 bits."""
    return data[24] == 16 and data[25] in _CHANNELS


def deep_samples(data: bytes) -> NDArray[np.uint16]:
    """Return the samples of a 16-bit PNG, ``(h, w, channels)``.

    Pillow keeps one byte of each sample. Which one depends on the byte order that it is told, so
    the file is decoded once for either; two channels of 16 bits are read as four of 8.
    """
    channels = _CHANNELS[data[25]]
    if channels == 2:
        header = data[:24] + b"\x08\x06" + data[26:29]
        crc = struct.pack(">I", zlib.crc32(header[12:29]))
        with _opened(header + crc + data[33:]) as image:
            return np.ascontiguousarray(np.asarray(image)).view(">u2").astype(np.uint16)
    if channels == 1:
        with _opened(data) as image:
            return np.asarray(image).astype(np.uint16)[..., np.newaxis]
    high, low = (_bytes_of(data, order).astype(np.uint16) for order in "BL")
    return high * np.uint16(256) + low


def _bytes_of(data: bytes, order: str) -> NDArray[np.uint8]:
    with _opened(data) as image:
        image.info.pop("transparency", None)
        tile = image.tile[0]
        image.tile = [tile._replace(args=f"{image.mode};16{order}")]
        return np.asarray(image)


def _opened(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=["PNG"])
