"""Image files as cameras, scanners and broken copies leave them, built byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image


def picture(width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth colours with a little noise, ``(height, width, 3) uint8``."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def zero_tail(data: bytes, share: float) -> bytes:
    """A copy that ended too early on a file system that keeps the size."""
    kept = int(len(data) * share)
    return data[:kept] + bytes(len(data) - kept)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 8
    while offset < len(data):
        length, name = struct.unpack_from(">I4s", data, offset)
        yield name, data[offset + 8 : offset + 8 + length]
        offset += 12 + length


def png_of(chunks: list[tuple[bytes, bytes]], spoilt: bytes = b"") -> bytes:
    """A PNG of chunks; the checksum of those named ``spoilt`` is wrong."""
    out = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        crc = zlib.crc32(name + content) ^ (name == spoilt)
        out += [struct.pack(">I", len(content)), name, content, struct.pack(">I", crc)]
    return b"".join(out)


def png_with(data: bytes, name: bytes, content: bytes, spoilt: bool = False) -> bytes:
    """A PNG with another chunk after its header."""
    head, *rest = png_chunks(data)
    return png_of([head, (name, content), *rest], name if spoilt else b"")


def png_in_one_piece(data: bytes) -> bytes:
    """A PNG whose pixels are in one IDAT, as libpng's writers often leave them."""
    chunks = list(png_chunks(data))
    pixels = b"".join(content for name, content in chunks if name == b"IDAT")
    others = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    return png_of([*others, (b"IDAT", pixels), (b"IEND", b"")])


def deep_png(samples: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    """A 16-bit PNG of ``(h, w, channels) uint16``, with filters, and chunks before its pixels."""
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    step = 2 * channels
    lines = []
    for number, row in enumerate(rows):
        if number % 2:  # the filter Sub
            before = np.concatenate([np.zeros(step, np.uint8), row[:-step]])
            lines.append(b"\1" + (row - before).astype(np.uint8).tobytes())
        else:
            lines.append(b"\0" + row.tobytes())
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(lines))
    return png_of([(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")])


def jpeg_with(data: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with another segment at its start."""
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    return data[:2] + segment + data[2:]


def exif_orientation(value: int, code: int) -> bytes:
    """EXIF whose orientation is stored as BYTE (1), SHORT (3), LONG (4) or their signed forms."""
    packed = struct.pack("<" + {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[code], value)
    entry = struct.pack("<HHI", 0x112, code, 1) + packed.ljust(4, b"\0")
    return b"Exif\0\0II*\0\x08\0\0\0\1\0" + entry + bytes(4)


def bmp(
    rows: bytes, size: tuple[int, int], bits: int, masks: tuple[int, ...], header: int
) -> bytes:
    """A BMP with colour masks; ``header`` is 40, 56, 108 or 124 bytes long."""
    width, height = size
    head = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, 3, len(rows), 0, 0, 0, 0)
    head += b"".join(struct.pack("<I", mask) for mask in masks)
    head = head.ljust(header, b"\0")
    offset = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + head + rows


def lzw(data: bytes) -> bytes:
    """LZW without compression: codes of 9 bits, and a new table before they get longer."""
    codes = []
    for number, byte in enumerate(data):
        if number % 250 == 0:
            codes.append(256)
        codes.append(byte)
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def packbits(data: bytes) -> bytes:
    parts = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


CODECS = {1: bytes, 5: lzw, 8: zlib.compress, 32773: packbits}


def tiff(
    planes: list[bytes],
    size: tuple[int, int],
    bits: int | list[int],
    photometric: int,
    samples: int = 1,
    order: str = "<",
    codec: int = 1,
    **tags: list[int],
) -> bytes:
    """A TIFF of one strip for each plane; other ``tags`` are ``t338=[2]``, or ``b274=[6]`` as BYTE.

    ``planes`` has the bytes of one strip with all samples, or one for each sample.
    """
    width, height = size
    strips = [CODECS[codec](plane) for plane in planes]
    offsets, body = [], b""
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    table = {256: (4, [width]), 257: (4, [height]), 259: (3, [codec]), 262: (3, [photometric])}
    table |= {258: (3, bits if isinstance(bits, list) else [bits] * samples)}
    table |= {277: (3, [samples]), 278: (4, [height]), 284: (3, [2 if len(planes) > 1 else 1])}
    table |= {273: (4, offsets), 279: (4, [len(strip) for strip in strips])}
    table |= {int(name[1:]): (1 if name[0] == "b" else 3, values) for name, values in tags.items()}
    start = 8 + len(body)
    free = start + 2 + 12 * len(table) + 4
    entries, rest = b"", b""
    for tag, (code, values) in sorted(table.items()):
        content = struct.pack(order + {1: "B", 3: "H", 4: "I"}[code] * len(values), *values)
        count = len(values)
        if len(content) > 4:
            pointer = struct.pack(order + "I", free + len(rest))
            content, rest = pointer, rest + content + b"\0" * (len(content) % 2)
        entries += struct.pack(order + "HHI", tag, code, count) + content.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + body + struct.pack(order + "H", len(table)) + entries + bytes(4) + rest


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows of ``(h, w)`` numbers whose bits follow each other, each row to a whole byte."""
    wide = (values[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(wide.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()
