"""JPEG files as sequences of segments: whether they are whole, and what of them holds pixels.

Decoders fill in what is missing: a file whose tail was never written decodes without an error.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator

from PIL import Image

from headstart.core.errors import ImageError
from headstart.datasets.images import holes

CUT_OFF = "half of a file: its last bytes were never written; copy it again"

_TABLES, _SCAN = 0xC4, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {_TABLES, 0xC8, 0xCC}
_END = b"\xff\xd9"
_LONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_PIXELS = {*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD}  # frames, tables, scans, restart intervals
_OTHER_CODINGS = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xCB: "lossless JPEG",
    0xF7: "JPEG-LS",
}
_GREY = 128  # what libjpeg fills missing blocks with


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
    """Raise an `ImageError` if the data of a JPEG were not written to their end, or have holes."""
    tables, frame, end = dict[int, int](), b"", 2
    for marker, start, end in segments(data):
        if marker == _TABLES:
            tables |= holes.zero_codes(data[start + 4 : end])
        elif marker in _FRAMES:
            frame = data[start + 1 : end]
        elif marker == _SCAN:
            last = data.rfind(_END, end)
            if last < 0:
                raise ImageError(CUT_OFF if data.endswith(bytes(16)) else "truncated image")
            if data.find(holes.ZEROS, end, last) >= 0:
                with contextlib.suppress(
                    IndexError, ValueError
                ):  # a decoder will say what is wrong
                    holes.check_jpeg(data, start, tables, frame)
            return
    holes.check_marker(data, end)


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
    with Image.open(io.BytesIO(data[:end] + holes.FILLER + _END), formats=["JPEG"]) as longer:
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
        if marker in _FRAMES and end - start > 9:
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
