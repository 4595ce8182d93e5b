"""The first directory of a TIFF file: how its pixels are stored, in numbers and in words.

Source: TIFF, Revision 6.0 (Adobe, 1992), its supplements, and the BigTIFF design.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import ImageError
from headstart.datasets.images.depth import FLOAT, SIGNED, UNSIGNED

_TYPES = {  # of integers: BYTE, SHORT, LONG, UNDEFINED, their signed forms, IFD, BigTIFF's
    1: "u1",
    3: "u2",
    4: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_FILL_ORDER, _STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_SIZES = 266, 273, 274, 277, 278, 279
_PLANAR, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 284, 317, 320, 322, 323, 324
_TILE_SIZES, _SUB_IFDS, _EXTRAS, _FORMAT, _SUBSAMPLING = 325, 330, 338, 339, 530
_DNG_VERSION, _ICC = 50706, 34675
_READ = {
    *(_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIPS),
    *(_ORIENTATION, _SAMPLES, _ROWS, _STRIP_SIZES, _PLANAR, _PREDICTOR, _PALETTE, _TILE_WIDTH),
    *(_TILE_HEIGHT, _TILES, _TILE_SIZES, _SUB_IFDS, _EXTRAS, _FORMAT, _SUBSAMPLING),
    *(_DNG_VERSION, _ICC),
}
_MOST_SAMPLES = 1024
_KINDS = {1: UNSIGNED, 2: SIGNED, 3: FLOAT, 4: UNSIGNED}
_COMPLEX = "complex numbers"
_COLOURS = {
    0: "white-is-zero grey",
    1: "grey",
    2: "RGB",
    3: "a palette",
    4: "a mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_COMPRESSIONS = {
    1: "uncompressed",
    2: "CCITT",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "deflate",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}


@dataclass(frozen=True)
class Directory:
    """How a TIFF stores its first picture.

    Attributes:
        order: of bytes, ``<`` or ``>``.
        bits: of each sample; ``kind`` says how to read them.
        extras: the meaning of samples beyond the colours: 1 and 2 are alpha, premultiplied or not.
        tile: width and height; None for strips, of ``rows`` rows each.
        icc: the colour profile, perhaps empty.
        offsets: of strips or tiles, and their ``sizes`` in bytes, empty if the file lacks them.
    """

    order: str
    width: int
    height: int
    bits: int
    kind: str
    samples: int
    photometric: int
    planar: bool
    compression: int
    predictor: int
    reversed_bits: bool
    orientation: int
    extras: tuple[int, ...]
    tile: tuple[int, int] | None
    rows: int
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    palette: NDArray[np.int64]
    subsampled: bool
    camera_raw: bool
    icc: bytes

    def __str__(self) -> str:
        count = "a sample" if self.samples == 1 else f"{self.samples} samples"
        colour = _COLOURS.get(self.photometric, f"photometric {self.photometric}")
        packing = _COMPRESSIONS.get(self.compression, f"compression {self.compression}")
        planes = ", planar" if self.planar else ""
        return f"{colour}, {count} of {self.bits} bits, {self.kind}{planes}, {packing}"

    @property
    def refusal(self) -> ImageError:
        """The error for a kind of TIFF that is not read."""
        return ImageError(f"a TIFF of a kind that is not read: {self}; save it as 8-bit RGB")


def read(data: bytes) -> Directory:
    """Read the first directory.

    Raises:
        ImageError: the file ends before it, or it contradicts itself.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        tags = _tags(data, order)
    except (struct.error, ValueError):
        raise ImageError("truncated image: a TIFF that ends before its directory") from None
    if not {_WIDTH, _HEIGHT} <= tags.keys():
        raise ImageError("damaged image: a TIFF without the size of its picture")
    samples = _first(tags, _SAMPLES, 1)
    if not 1 <= samples <= _MOST_SAMPLES:
        raise ImageError(f"a TIFF of a kind that is not read: {samples} samples a pixel")
    photometric, compression = _first(tags, _PHOTOMETRIC, 0), _first(tags, _COMPRESSION, 1)
    if compression == 6:  # by the specification of old JPEG
        photometric, samples = 6, _first(tags, _SAMPLES, 3)
    tiled = _TILES in tags
    tile = (_first(tags, _TILE_WIDTH, 0), _first(tags, _TILE_HEIGHT, 0)) if tiled else None
    empty = np.empty(0, np.int64)
    return Directory(
        order,
        _first(tags, _WIDTH, 0),
        _first(tags, _HEIGHT, 0),
        *_format(tags, samples, 8 if compression == 6 else 1),
        samples,
        photometric,
        _first(tags, _PLANAR, 1) == 2 and samples > 1,
        compression,
        _first(tags, _PREDICTOR, 1),
        _first(tags, _FILL_ORDER, 1) == 2,
        _first(tags, _ORIENTATION, 1),
        tuple(tags.get(_EXTRAS, empty).tolist()),
        tile,
        _first(tags, _ROWS, 0) or _first(tags, _HEIGHT, 0),
        tags.get(_TILES if tiled else _STRIPS, empty),
        tags.get(_TILE_SIZES if tiled else _STRIP_SIZES, empty),
        tags.get(_PALETTE, empty),
        bool((tags.get(_SUBSAMPLING, np.array([2, 2])) != 1).any()),
        _SUB_IFDS in tags and (_first(tags, _SUBFILE, 0) & 1 == 1 or _DNG_VERSION in tags),
        tags.get(_ICC, empty).astype(np.uint8).tobytes(),
    )


def _format(tags: dict[int, NDArray[np.int64]], samples: int, usual: int) -> tuple[int, str]:
    """Return bits and kind of the samples; ``usual`` are the bits where the file says nothing."""
    bits = set(tags.get(_BITS, np.array([usual]))[:samples].tolist())
    formats = set(tags.get(_FORMAT, np.array([1]))[:samples].tolist())
    if len(bits) != 1 or len(formats) != 1:
        text = ", ".join(map(str, sorted(bits)))
        raise ImageError(
            f"a TIFF of a kind that is not read: samples of {text} bits, in formats "
            f"{', '.join(map(str, sorted(formats)))}; save it as 8-bit RGB"
        )
    code = formats.pop()
    return bits.pop(), _KINDS.get(code, _COMPLEX if code in (5, 6) else f"format {code}")


def _first(tags: dict[int, NDArray[np.int64]], tag: int, default: int) -> int:
    values = tags.get(tag)
    return default if values is None or not len(values) else int(values[0])


def _tags(data: bytes, order: str) -> dict[int, NDArray[np.int64]]:
    """Return the integer values of the tags that `read` needs; ValueError if they are cut off."""
    big = 43 in data[2:4]
    word, count_word, entry, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + count_word, data, start)
    start += struct.calcsize(order + count_word)
    tags = {}
    for offset in range(start, start + min(count, 4096) * entry, entry):
        tag, code, length = struct.unpack_from(f"{order}HH{word}", data, offset)
        if tag not in _READ or code not in _TYPES:
            continue
        kind = np.dtype(order + _TYPES[code])
        position = offset + entry - inline
        if length * kind.itemsize > inline:
            (position,) = struct.unpack_from(order + word, data, position)
        if length * kind.itemsize > len(data):
            raise ValueError("more values than bytes")
        tags[tag] = np.frombuffer(data, kind, length, position).astype(np.int64)
    return tags
