"""Formats and limits of image files, checked from their headers before decoding.

`is_ordinary` decides where a file is decoded: in the calling thread, or in a child process. It
reads the file's structure up to the first pixels, which takes microseconds for a photograph. Only a
file within the limits below, which bound the decoder's work, is ordinary.
"""

from __future__ import annotations

import struct

from headstart.datasets.images.content import is_avif, is_heif

MAX_PIXELS = 178_956_970  # Pillow's own limit: half a gigabyte of RGB
TOO_MANY_PIXELS = f"more than {MAX_PIXELS:,} pixels"

_PIXELS = 50_000_000  # decoding more takes seconds
_BYTES = 64 << 20
_SEGMENTS = 512  # of a JPEG before its pixels; an ICC profile may take 255
_SCANS = 32  # of a progressive JPEG; encoders write about 10
_CHUNKS = 8192  # of a PNG or WebP file
_EXTRAS = 64  # chunks of a PNG that hold no pixels; each may unpack to a megabyte
_METADATA = 64 << 10  # bytes of EXIF, or of a GIF's comments

_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_SCAN = 0xDA
# Without lossless, hierarchical and arithmetic coding, and markers that have no length.
_JPEG_MARKERS = {*_JPEG_FRAMES, 0xC4, 0xCC, *range(0xDA, 0xFF)}

_SIGNATURES = {  # as Pillow's plugins check them
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II\0*": "TIFF",
    b"MM*\0": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}


def kind(data: bytes) -> str | None:
    """Return which of the formats that are read a file claims to be, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return "AVIF" if is_avif(data) else "HEIF" if is_heif(data) else None
    return next((name for start, name in _SIGNATURES.items() if data.startswith(start)), None)


def is_ordinary(data: bytes) -> bool:
    """Tell whether a file is certain to be decoded quickly, so that no child process is needed."""
    if len(data) > _BYTES:
        return False
    walk = {
        "JPEG": _ordinary_jpeg,
        "PNG": _ordinary_png,
        "WEBP": _ordinary_webp,
        "GIF": _ordinary_gif,
        "BMP": _ordinary_bmp,
        "TIFF": _never,
        "AVIF": _never,
        "HEIF": _never,
        None: _always,
    }[kind(data)]
    try:
        return walk(data)
    except (IndexError, struct.error):  # the file is truncated
        return False


def _never(data: bytes) -> bool:
    """Return False for formats whose files can make a decoder do almost anything."""
    return False


def _always(data: bytes) -> bool:
    """Return True for an unknown format, which no decoder will open."""
    return True


def _few_pixels(width: int, height: int) -> bool:
    return width * height <= _PIXELS


def _ordinary_jpeg(data: bytes) -> bool:
    offset, frame, exif = 2, b"", 0
    for _ in range(_SEGMENTS):
        mark, marker, length = struct.unpack_from(">BBH", data, offset)
        if mark != 0xFF or marker not in _JPEG_MARKERS or (frame and marker in _JPEG_FRAMES):
            return False
        if marker == _JPEG_SCAN:
            return exif <= 1 and _ordinary_frame(data, frame, offset)
        if marker in _JPEG_FRAMES:
            frame = data[offset + 1 : offset + 12]
        exif += marker == 0xE1 and data[offset + 4 : offset + 8] == b"Exif"
        offset += 2 + length
    return False


def _ordinary_frame(data: bytes, frame: bytes, scan: int) -> bool:
    """Check a JPEG's frame header; ``scan`` is the offset of the first scan."""
    code, _, depth, height, width, components = struct.unpack_from(">BHBHHB", frame)
    if depth != 8 or not _few_pixels(width, height):
        return False
    all_at_once = code != 0xC2 and data[scan + 4] == components
    return all_at_once or data.count(b"\xff\xda") <= _SCANS


def _ordinary_png(data: bytes) -> bool:
    width, height = struct.unpack_from(">II", data, 16)
    if data[12:16] != b"IHDR" or not _few_pixels(width, height):
        return False
    offset, extras = 8, 0
    for _ in range(_CHUNKS):
        length, name = struct.unpack_from(">I4s", data, offset)
        if name == b"IEND":
            return True
        if name not in (b"IDAT", b"fdAT"):
            extras += 1
        if extras > _EXTRAS or (name == b"eXIf" and length > _METADATA):
            return False
        offset += 12 + length
    return False


def _ordinary_webp(data: bytes) -> bool:
    match data[12:16]:
        case b"VP8X":
            sides = data[24:27] + b"\0" + data[27:30] + b"\0"
            width, height = (side + 1 for side in struct.unpack("<II", sides))
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        case _:
            return False
    if not _few_pixels(width, height):
        return False
    offset = 12
    for _ in range(_CHUNKS):
        if offset >= len(data) - 1:
            return True
        name, length = struct.unpack_from("<4sI", data, offset)
        if name == b"EXIF" and length > _METADATA:
            return False
        offset += 8 + length + length % 2
    return False


def _ordinary_gif(data: bytes) -> bool:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    offset = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while offset < _METADATA and data[offset] == 0x21:
        offset += 2
        while offset < _METADATA and data[offset]:
            offset += 1 + data[offset]
        offset += 1
    if data[offset] != 0x2C:
        return False
    left, top, wide, high = struct.unpack_from("<HHHH", data, offset + 1)
    return _few_pixels(max(width, left + wide), max(height, top + high))


def _ordinary_bmp(data: bytes) -> bool:
    size, width, height = struct.unpack_from("<Iii", data, 14)
    if size < 40:  # the header of OS/2
        width, height = struct.unpack_from("<HH", data, 18)
        return _few_pixels(width, height)
    (compression,) = struct.unpack_from("<I", data, 30)
    # Run lengths are decoded in Python, byte by byte.
    return compression in (0, 3) and _few_pixels(abs(width), abs(height))
