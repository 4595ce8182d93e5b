"""Questions about an image: the values of its samples, and whether it shows anything."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from headstart.core.preprocess import Preprocess
from headstart.datasets.images import header, pixels, png, tiff, tiff_directory, tiff_samples
from headstart.datasets.images.depth import UNSIGNED
from headstart.datasets.images.opening import ends_in_zeros, has_blank_sectors, open_image

VALUES = 4096  # of an image
NARROW, PLAIN, CLEAR, ZEROS = "narrow", "plain", "clear", "zeros"
_LEAST = 32  # values of 256: an eighth
_STEP = 16
_GREY_OR_RGB = (0, 1, 2)


def values(data: bytes) -> bytes:
    """Return whether samples have more than 8 bits, and some of them as float64."""
    deep, samples = pixels.attempt(data, _samples)
    flat = samples.reshape(-1)
    chosen = flat[np.linspace(0, len(flat) - 1, min(VALUES, len(flat))).astype(np.intp)]
    numbers = chosen.astype(np.float64)
    return struct.pack("?", deep) + numbers[np.isfinite(numbers)].tobytes()


def is_clear(data: bytes) -> bytes:
    """Return a byte that is true if every pixel is wholly transparent."""

    def look(content: bytes) -> bool:
        with open_image(content) as image:
            image.load()
            if not image.has_transparency_data:
                return False
            alpha = image.convert("RGBA").getchannel("A")
            return bool(alpha.getextrema() == (0, 0))

    return struct.pack("?", pixels.attempt(data, look))


QUESTIONS = {"values": values, "clear": is_clear}


def emptiness(data: bytes, crop: NDArray[np.uint8]) -> str:
    """Return `NARROW` for a crop with less than an eighth of the range of 8 bits in each channel.

    `PLAIN` is one colour, which may hide a transparent image; `ZEROS` a BMP or TIFF of which a part
    may never have been written; all others are empty.
    """
    if _spans(crop[::_STEP, ::_STEP]) < _LEAST and (span := _spans(crop)) < _LEAST:
        return NARROW if span else PLAIN
    if header.kind(data) in ("BMP", "TIFF") and (ends_in_zeros(data) or has_blank_sectors(data)):
        return ZEROS
    return ""


def _spans(crop: NDArray[np.uint8]) -> int:
    return max(int(crop[..., k].max()) - int(crop[..., k].min()) for k in range(3))


def _samples(data: bytes) -> tuple[bool, NDArray[np.generic]]:
    if header.kind(data) == "TIFF":
        of = tiff_directory.read(data)
        if of.compression in tiff_samples.COMPRESSIONS and of.photometric in _GREY_OR_RGB:
            colours, _ = tiff.channels(of)
            deep = of.bits > 8 or of.kind != UNSIGNED
            return deep, tiff_samples.read(data, of)[..., :colours]
    if header.kind(data) == "PNG" and png.is_deep(data):
        samples = png.deep_samples(data)
        channels = samples.shape[2]
        return True, samples[..., : channels - 1 if channels in (2, 4) else channels]
    return False, pixels.whole(data, Preprocess(8, 8), 256)
