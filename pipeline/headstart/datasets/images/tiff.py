"""TIFF files to images: every kind in this module is verified, all others are refused by name.

| colours | bits of a sample | samples | how |
|---|---|---|---|
| grey, white is zero or black is zero | 1 to 16, 24, 32, 64 | 1, and alpha | numpy |
| grey that is RGB | 1 to 16, 24, 32, 64 | 3, and alpha | numpy |
| RGB | 1 to 16, 24, 32, 64 | 3, alpha, others dropped | numpy |
| palette | 1 to 16 | 1, and alpha | numpy |
| CMYK | 8, 16 | 4, alpha, others dropped | numpy, Pillow's formula |
| YCbCr, JPEG, CCITT | 1, 8 | 1 to 4 | libtiff |

Each in either byte order, in strips or tiles, side by side or planar, uncompressed or as LZW,
deflate, PackBits, LZMA or Zstandard. Signed integers, floating point and more than 16 bits need a
range.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from headstart.core.errors import ImageError
from headstart.datasets.images import tiff_samples
from headstart.datasets.images.depth import OF_TYPE, UNSIGNED, to_bytes
from headstart.datasets.images.header import MAX_PIXELS, TOO_MANY_PIXELS
from headstart.datasets.images.tiff_directory import Directory, read

_GREY, _RGB, _PALETTE, _CMYK, _YCBCR = (0, 1), 2, 3, 5, 6
_WHITE_IS_ZERO = 0
_PREMULTIPLIED, _ALPHA, _COREL = 1, 2, 999  # Corel Draw 10 writes 999 for alpha
_OF_PILLOW = {2: 1, 3: 1, 4: 1, 6: 8, 7: 8, 32809: 4}  # bits of a sample, by codec
_ORIENTATION = 0x0112


def open_image(data: bytes, value_range: str) -> Image.Image:
    """Return the first picture as an image of mode RGB, RGBA, L, LA or CMYK, not turned upright.

    Raises:
        ImageError: it is not of a verified kind, or damaged.
    """
    tiff = read(data)
    if tiff.width < 1 or tiff.height < 1:
        raise ImageError("the image has no pixels")
    if tiff.width * tiff.height > MAX_PIXELS:
        raise ImageError(TOO_MANY_PIXELS)
    if tiff.camera_raw:
        raise ImageError("a camera raw, whose first picture is only a preview; develop it first")
    if tiff.compression in _OF_PILLOW or tiff.photometric == _YCBCR:
        return _by_pillow(data, tiff)
    image = _to_image(tiff_samples.read(data, tiff), tiff, value_range)
    if tiff.icc:
        image.info["icc_profile"] = tiff.icc
    if 2 <= tiff.orientation <= 8:
        image.getexif()[_ORIENTATION] = tiff.orientation
    return image


def channels(tiff: Directory) -> tuple[int, int | None]:
    """Return how many samples are colours, and which one is alpha.

    Raises:
        ImageError: which samples are colours is not known.
    """
    first = tiff.samples - len(tiff.extras)
    alphas = [
        first + number
        for number, meaning in enumerate(tiff.extras)
        if meaning in (_PREMULTIPLIED, _ALPHA, _COREL)
    ]
    if tiff.photometric == _RGB and tiff.samples == 4 and not tiff.extras:
        alphas = [3]
    alpha = alphas[0] if alphas else None
    if tiff.photometric in (_RGB, _CMYK):
        colours = 3 if tiff.photometric == _RGB else 4
    else:
        colours = 1 if tiff.samples <= 2 or alpha == 1 else 3
    inverted_bands = tiff.photometric == _WHITE_IS_ZERO and colours == 3
    if inverted_bands or tiff.samples < colours or (alpha is not None and alpha < colours):
        raise tiff.refusal
    if tiff.photometric in _GREY and colours == 3 and tiff.samples > 3 + (alpha == 3):
        raise ImageError(f"a TIFF of {tiff.samples} bands ({tiff}); save three of them as RGB")
    return colours, alpha


def _to_image(samples: NDArray[np.generic], tiff: Directory, value_range: str) -> Image.Image:
    if tiff.photometric not in (*_GREY, _RGB, _PALETTE, _CMYK):
        raise tiff.refusal
    colours, alpha = channels(tiff)
    if tiff.photometric == _PALETTE:
        pixels = _from_palette(samples[..., 0], tiff)
    elif tiff.photometric == _CMYK:
        inks = _inks(samples[..., :4], tiff)
        if alpha is None:
            return inks
        pixels = np.asarray(inks.convert("RGB"))
    else:
        pixels = to_bytes(samples[..., :colours], tiff.bits, tiff.kind, value_range)
    if tiff.photometric == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    if alpha is None:
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    opacity = to_bytes(samples[..., alpha], tiff.bits, tiff.kind, OF_TYPE)
    size = tiff.width, tiff.height
    premultiplied = tiff.extras[alpha - tiff.samples :][:1] == (_PREMULTIPLIED,)
    mode = "RGBa" if premultiplied else "RGBA"
    image = Image.frombytes(mode, size, np.dstack([pixels, opacity]).tobytes())
    return image.convert("RGBA")


def _from_palette(index: NDArray[np.generic], tiff: Directory) -> NDArray[np.uint8]:
    """Look up colours; some writers store them as 8 bits, although they are 16-bit numbers."""
    size = 1 << tiff.bits
    if tiff.bits > 16 or tiff.kind != UNSIGNED:
        raise tiff.refusal
    if len(tiff.palette) < 3 * size:
        raise ImageError("damaged image: a TIFF whose palette is too short")
    table = tiff.palette[: 3 * size].reshape(3, size).T
    table = table if table.max() < 256 else table >> 8
    return table.astype(np.uint8)[index.astype(np.intp)]


def _inks(samples: NDArray[np.generic], tiff: Directory) -> Image.Image:
    if tiff.bits not in (8, 16) or tiff.kind != UNSIGNED:
        raise tiff.refusal
    inks = to_bytes(samples, tiff.bits, tiff.kind, "")
    return Image.frombytes("CMYK", (tiff.width, tiff.height), inks.tobytes())


def _by_pillow(data: bytes, tiff: Directory) -> Image.Image:
    """Open a TIFF whose codec holds colours, not rows of bytes."""
    bits = _OF_PILLOW.get(tiff.compression, 8)
    if tiff.bits != bits or tiff.kind != UNSIGNED or tiff.photometric not in range(7):
        raise tiff.refusal
    try:
        image: ImageFile.ImageFile = Image.open(io.BytesIO(data), formats=["TIFF"])
    except (UnidentifiedImageError, KeyError):
        raise tiff.refusal from None
    if tiff.photometric == _YCBCR and tiff.compression == 1:
        # Pillow's own reader knows neither subsampling nor the range of video.
        size = tiff.width, tiff.height
        args = ("RGBX", False, image.tag_v2.offset)  # type: ignore[attr-defined]
        image._mode = "RGB"
        image.use_load_libtiff = True  # type: ignore[attr-defined]
        image.tile = [ImageFile._Tile("libtiff", (0, 0, *size), 0, args)]
    return image
