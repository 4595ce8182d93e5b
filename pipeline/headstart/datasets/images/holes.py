"""Holes: zeros inside compressed pixels, where blocks of a file were never written.

Decoders read them as data. Long runs of zeros occur in sound files too, where a surface has one
colour; but after a hole the data of a scan no longer end where its last pixels do.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from headstart.core.errors import ImageError

HOLE = "damaged {}: zeros inside its data; copy it again"
ZEROS = bytes(256)  # 2,048 zero bits; blocks of a photograph never have so many

_SCAN, _TABLES = 0xDA, 0xC4
_ARITHMETIC = range(0xC9, 0xCC)  # their data may lack zeros at the end
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # that ends the data of a scan
_MOST = 4  # scans of a file that are decoded again
FILLER = bytes.fromhex("5a3c96e10f78b42d") * 4096
_OTHERS = FILLER, bytes(len(FILLER)), bytes.fromhex("a5c3691ef0874bd2") * 4096
_TAILS = 4, 16, 64  # bytes at the end of a scan that are replaced by others


class Scan(NamedTuple):
    """A scan of a JPEG: its header without marker and length, and where its data lie."""

    header: bytes
    start: int
    end: int
    flat: bool
    """Whether zeros may be a surface of one colour."""

    @property
    def is_refined_dc(self) -> bool:
        """Whether it has one bit a block and no codes: zeros in it put nothing out of step."""
        count = self.header[0]
        return self.header[1 + 2 * count] == 0 and self.header[3 + 2 * count] >= 0x10


def check_jpeg(data: bytes, first: int, tables: dict[int, int], frame: bytes) -> None:
    """Raise an `ImageError` if zeros in the data of a JPEG are a hole.

    ``first`` is where the header of the first scan begins, ``tables`` what the code of all zeros
    means in each Huffman table until then, and ``frame`` the frame's header from its marker on.
    """
    doubtful = [
        scan for scan in _scans(data, first, tables) if data.find(ZEROS, scan.start, scan.end) >= 0
    ]
    if not doubtful or len(frame) < 10 or frame[0] in _ARITHMETIC:
        return
    whole = _pixels(data)
    for scan in doubtful[:_MOST]:
        if scan.is_refined_dc:
            sound = _has_one_bit_a_block(data, scan, frame)
        else:
            sound = scan.flat and _ends_with_its_pixels(data, scan, whole)
        if not sound:
            raise ImageError(HOLE.format("JPEG"))


def check_marker(data: bytes, offset: int) -> None:
    """Raise an `ImageError` if there are zeros where a marker is due."""
    if data.startswith(ZEROS[:16], offset):
        raise ImageError(HOLE.format("JPEG"))


def zero_codes(tables: bytes) -> dict[int, int]:
    """Return what the code of all zeros means, by class and number of each Huffman table."""
    offset, meanings = 0, {}
    while offset + 17 < len(tables):
        meanings[tables[offset]] = tables[offset + 17]
        offset += 17 + sum(tables[offset + 1 : offset + 17])
    return meanings


def _scans(data: bytes, offset: int, tables: dict[int, int]) -> Iterator[Scan]:
    while data[offset : offset + 1] == b"\xff" and offset + 4 <= len(data):
        marker = data[offset + 1]
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        if marker == _TABLES:
            tables |= zero_codes(data[offset + 4 : end])
        if marker == _SCAN:
            after = _MARKER.search(data, end)
            stop = after.start() if after else len(data)
            while data[stop - 1] == 0xFF:  # fill bytes
                stop -= 1
            header = data[offset + 4 : end]
            yield Scan(header, end, stop, _may_be_flat(header, tables))
            end = stop
        if 0xD8 <= marker <= 0xD9:
            return
        offset = end
    check_marker(data, offset)


def _may_be_flat(header: bytes, tables: dict[int, int]) -> bool:
    """Tell whether a surface of one colour may be zeros: their code says that nothing changes.

    The refinement of AC values codes runs of blocks, and at most 1,000 bits between two of them.
    """
    count = header[0]
    selectors = header[2 : 1 + 2 * count : 2]
    start, stop, refined = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] >> 4
    if refined:
        return False
    differences = [tables.get(selector >> 4, 0) for selector in selectors] if start == 0 else []
    ends = [tables.get(0x10 | selector & 15, 0) for selector in selectors] if stop else []
    return not any(differences) and all(end & 15 == 0 and end < 0xF0 for end in ends)


def _has_one_bit_a_block(data: bytes, scan: Scan, frame: bytes) -> bool:
    height, width = int.from_bytes(frame[4:6], "big"), int.from_bytes(frame[6:8], "big")
    sampling = {
        frame[k]: (frame[k + 1] >> 4, frame[k + 1] & 15) for k in range(9, len(frame) - 2, 3)
    }
    across, down = (max(factors) for factors in zip(*sampling.values(), strict=True))
    parts = [sampling.get(name, (1, 1)) for name in scan.header[1 : 1 + 2 * scan.header[0] : 2]]
    if len(parts) == 1:  # only the blocks that the image covers
        width, height = -(-width * parts[0][0] // across), -(-height * parts[0][1] // down)
        parts, across, down = [(1, 1)], 1, 1
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    bits = units * sum(a * b for a, b in parts)
    content = data[scan.start : scan.end]
    restarts = sum(content.count(bytes((0xFF, 0xD0 + k))) for k in range(8))
    return restarts > 0 or len(content) - content.count(b"\xff\0") == -(-bits // 8)


def check_webp(data: bytes) -> None:
    """Raise an `ImageError` if zeros in the data of a WebP are a hole.

    libwebp itself refuses data that end before the last pixels.
    """
    doubtful = [part for part in _webp_parts(data) if data.find(ZEROS, *part) >= 0]
    if not doubtful or not (whole := _pixels(data, "WEBP")):
        return
    for start, end in doubtful[:_MOST]:
        if not _matters_at_its_end(data, start, end, whole, "WEBP"):
            raise ImageError(HOLE.format("WebP"))


def _webp_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the first frame's compressed data lie: modes, coefficients, lossless, alpha."""
    offset = 12
    while offset + 8 <= len(data):
        name, start = data[offset : offset + 4], offset + 8
        length = int.from_bytes(data[offset + 4 : start], "little")
        if name == b"ANMF":
            offset = start + 16
            continue
        end = min(start + length, len(data))
        if name == b"VP8 ":
            modes = start + 10 + (int.from_bytes(data[start : start + 3], "little") >> 5)
            yield start + 10, min(modes, end)
            yield min(modes, end), end
        elif name in (b"VP8L", b"ALPH"):
            yield start + 5, end
        if name in (b"VP8 ", b"VP8L"):
            return
        offset = start + length + length % 2


def _ends_with_its_pixels(data: bytes, scan: Scan, whole: bytes) -> bool:
    """Tell whether the last data of a scan matter, and none are missing behind them."""
    longer = data[: scan.end] + FILLER + data[scan.end :]
    return _pixels(longer) == whole and _matters_at_its_end(data, scan.start, scan.end, whole)


def _matters_at_its_end(
    data: bytes, start: int, end: int, whole: bytes, kind: str = "JPEG"
) -> bool:
    """Tell whether other data at the end of a part change the picture, or none in it do."""
    for length in _TAILS:
        last = end - length - (data[end - length - 1] == 0xFF)
        for other in _OTHERS:
            if _pixels(data[:last] + other[: end - last] + data[end:], kind) != whole:
                return True
    filler = FILLER * -(-(end - start) // len(FILLER))
    return _pixels(data[:start] + filler[: end - start] + data[end:], kind) == whole


def _pixels(data: bytes, kind: str = "JPEG") -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            return image.tobytes()
    except Exception:  # decoders raise nearly anything on damaged bytes
        return b""
