"""Opens image files: by Pillow where its modes are right, else by readers of this package."""

from __future__ import annotations

import io
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from PIL import (
    Image,
    WebPImagePlugin,  # noqa: F401 - at the first WebP, Pillow would import 40 others as well
)

from headstart.core.errors import ImageError
from headstart.datasets.images import bmp, content, header, heif, holes, jpeg, png, tiff
from headstart.datasets.images.depth import UNSIGNED, applies, to_bytes

SCALED = "headstart.scaled"  # in an image's info: its samples are 8 bits by the set's range
_PLUGINS = {"WEBP": "PIL.WebPImagePlugin", "AVIF": "PIL.AvifImagePlugin"}
_SECTOR, _SECTORS = 512, 8
_SPARE = 1024  # zeros at the end of a file that some encoders write


def open_image(data: bytes, value_range: str = "") -> Image.Image:
    """Return an image that need not be loaded yet, before it is turned upright.

    Raises:
        ImageError: it is no image, of a kind that is not read, or was never written to its end.
    """
    kind = header.kind(data)
    if kind == "TIFF":
        return _marked(tiff.open_image(data, value_range))
    if kind == "HEIF":
        return heif.open_image(data)
    if kind is None:
        raise ImageError(content.unknown(data))
    if kind == "BMP" and (image := bmp.open_unusual(data)) is not None:
        return image
    if kind in _PLUGINS:  # else Pillow imports all of its fifty plugins to find this one
        import_module(_PLUGINS[kind])
    opened = Image.open(io.BytesIO(data), formats=[kind])
    if kind == "PNG" and png.is_deep(data):
        return _deep_png(data, opened, value_range)
    return opened


def check_whole(data: bytes) -> None:
    """Raise an `ImageError` for a file whose tail was never written, where that can be told."""
    kind = header.kind(data)
    if kind == "JPEG":
        jpeg.check(data)
    elif kind == "PNG":
        png.check(data)
    elif kind == "WEBP" and holes.ZEROS in data:
        holes.check_webp(data)
    elif kind in ("AVIF", "HEIF") and ends_in_zeros(data):
        raise ImageError(jpeg.CUT_OFF)


def ends_in_zeros(data: bytes) -> bool:
    """Tell whether at least 1 KiB and a tenth of a file, at its end, are zeros."""
    length = max(_SPARE, len(data) // 10)
    return len(data) > length and not data[-_SPARE:].strip(b"\0") and not any(data[-length:])


def has_blank_sectors(data: bytes) -> bool:
    """Tell whether 4 KiB or more of a file are zeros that begin and end where sectors do.

    That is how a block that was never written looks in data that are not compressed. A black area
    begins and ends anywhere.
    """
    sectors = np.frombuffer(data, np.uint8, len(data) // _SECTOR * _SECTOR).reshape(-1, _SECTOR)
    blank = np.zeros(len(sectors) + 2, np.int8)
    blank[1:-1] = ~sectors.any(axis=1)
    starts, ends = np.flatnonzero(np.diff(blank) == 1), np.flatnonzero(np.diff(blank) == -1)
    return any(
        end - start >= _SECTORS and data[start * _SECTOR - 1] and data[end * _SECTOR]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        if start and end * _SECTOR < len(data)
    )


def _marked(image: Image.Image) -> Image.Image:
    image.info[SCALED] = True
    return image


def _deep_png(data: bytes, opened: Image.Image, value_range: str) -> Image.Image:
    """Return a 16-bit PNG as 8 bits, if its high bytes are not what they should be.

    PNG stores fewer significant bits (chunk sBIT) in the high ones. Files that have them in the low
    ones are told by their samples.
    """
    bits = png.significant_bits(data)
    if bits == 16 and not applies(value_range, 16):
        return opened
    samples = png.deep_samples(data)
    if applies(value_range, 16):
        bits = 16
    elif _right_aligned(samples, bits):
        value_range = ""
    else:
        return opened
    channels = samples.shape[2]
    colours = channels - 1 if channels in (2, 4) else channels
    bands = [to_bytes(samples[..., :colours], bits, UNSIGNED, value_range)]
    key = opened.info.get("transparency")
    if channels != colours:
        alpha = samples[..., -1]
        bands.append(to_bytes(alpha, bits if alpha.max() < 1 << bits else 16, UNSIGNED, ""))
    elif key is not None:
        hidden = (samples == np.array(key)).all(axis=2)
        bands.append(np.where(hidden, 0, 255).astype(np.uint8))
    pixels = np.dstack(bands)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.info |= {key: value for key, value in opened.info.items() if key != "transparency"}
    return _marked(image)


def _right_aligned(samples: NDArray[np.uint16], bits: int) -> bool:
    spare = (1 << (16 - bits)) - 1
    return int(samples.max()) < 1 << bits and bool((samples & spare).any())
