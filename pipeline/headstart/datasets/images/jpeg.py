"""JPEG files as sequences of segments: whether they are whole, and what of them holds pixels.

Decoders fill in what is missing: a file whose tail was never written decodes without an error.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image

from headstart.core.errors import ImageError

CUT_OFF = "half of a file: its last bytes were never written; copy it again"
HOLE = "damaged JPEG: zeros inside its data; copy it again"

_SCAN = 0xDA
_END = b"\xff\xd9"
_ZEROS = bytes(256)  # 2,048 zero bits; blocks of a photograph never have so many
_LONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_PIXELS = {*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD}  # frames, tables, scans, restart intervals
_OTHER_CODINGS = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xCB: "lossless JPEG",
    0xF7: "JPEG-LS",
}
_GREY = 128  # what libjpeg fills missing blocks with
_FILLER = bytes.fromhex("5a3c96e10f78b42d") * 4096


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the first scan's header, inclusive.

    It stops where the structure breaks.
    """
    offset = 2
    while data[offset : offset + 1] == b"\xff":
        while data[offset + 1 : offset + 2] == b"\xff":  # fill bytes
            offset += 1
        if offset + 4 > len(data):
            return
        marker = data[offset + 1]
        if marker in _LONE:
            offset += 2
            continue
        end = offset + 2 + struct.unpack_from(">H", data, offset + 2)[0]
        yield marker, offset, end
        if marker == _SCAN:
            return
        offset = end


def check(data: bytes) -> None:
    """Raise an `ImageError` if the data of the first scan were not written to their end."""
    baseline, flat = False, set[int]()
    for marker, start, end in segments(data):
        if marker in (0xC0, 0xC1):
            baseline = True
        elif marker == 0xC4:
            flat |= _flat_tables(data[start + 4 : end])
        elif marker == _SCAN:
            last = data.rfind(_END, end)
            if last < 0:
                raise ImageError(CUT_OFF if data.endswith(bytes(16)) else "truncated image")
            selectors = data[start + 6 : start + 5 + 2 * data[start + 4] : 2]
            if baseline and any(selector & 15 not in flat for selector in selectors):
                _check_holes(data, end, last)
            return


def _flat_tables(tables: bytes) -> set[int]:
    """Return the numbers of the AC tables whose all-zero code ends a block.

    Only if all do may zeros be a large surface of one colour; else they code nothing sensible.
    """
    offset, flat = 0, set()
    while offset + 17 < len(tables):
        values = offset + 17
        if tables[offset] >= 0x10 and not tables[values]:
            flat.add(tables[offset] & 15)
        offset = values + sum(tables[offset + 1 : values])
    return flat


def _check_holes(data: bytes, start: int, last: int) -> None:
    hole = data.find(_ZEROS, start, last)
    if hole >= 0 and hole < data.find(_END, start):  # not in what follows the image
        raise ImageError(HOLE)


def check_rows(data: bytes, image: Image.Image) -> None:
    """Raise an `ImageError` if the last rows of a decoded file are libjpeg's filler.

    They are, if they are exactly grey and the image changes when other data follow the file's own.
    """
    if not _ends_grey(image):
        return
    scan = next((end for marker, _, end in segments(data) if marker == _SCAN), len(data))
    end = data.find(_END, scan)
    if end < 0:
        return
    with Image.open(io.BytesIO(data[:end] + _FILLER + _END), formats=["JPEG"]) as longer:
        longer.draft(None, image.size)
        longer.load()
        if longer.tobytes() != image.tobytes():
            raise ImageError("damaged JPEG: its data end before its last rows; copy it again")


def _ends_grey(image: Image.Image) -> bool:
    width, height = image.size
    extrema = image.crop((0, max(0, height - 2), width, height)).getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(pair == (_GREY, _GREY) for pair in pairs)


def defect(data: bytes) -> str:
    """Return what a JPEG is that no decoder here opens, or what is wrong with it."""
    for marker, start, end in segments(data):
        if marker in _OTHER_CODINGS:
            return f"not supported: {_OTHER_CODINGS[marker]}"
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC) and end - start > 9:
            depth, components = data[start + 4], data[start + 9]
            if depth != 8:
                return f"not supported: JPEG of {depth} bits a sample"
            if components not in (1, 3, 4):
                return f"not supported: JPEG with {components} components"
    return "damaged image: a JPEG that cannot be decoded"


def essentials(data: bytes) -> bytes:
    """Return a JPEG without the segments that hold no pixels, but with sound EXIF and Adobe's."""
    parts, scan = [data[:2]], 2
    for marker, start, end in segments(data):
        scan = end
        payload = data[start + 4 : end]
        sound = (
            marker in _PIXELS
            or (marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14)
            or (marker == 0xE1 and payload.startswith(b"Exif\0\0"))
            or (marker == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12)
        )
        if sound:
            parts.append(data[start:end])
    return b"".join([*parts, data[scan:]])
