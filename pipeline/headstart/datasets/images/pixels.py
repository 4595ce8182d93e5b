"""Decodes images with Pillow, by the rules in the package's docstring."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from headstart.core.errors import ImageError, one_line
from headstart.core.records import Preprocess
from headstart.datasets.images import dct_scaling
from headstart.datasets.images.geometry import crop_box
from headstart.datasets.images.header import MAX_PIXELS, TOO_MANY_PIXELS, unknown

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

_RESAMPLE = {  # of records.INTERPOLATIONS
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {  # by EXIF orientation: the transpose, and which axes of the upright image it reverses
    2: (Image.Transpose.FLIP_LEFT_RIGHT, (True, False)),
    3: (Image.Transpose.ROTATE_180, (True, True)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, (False, True)),
    5: (Image.Transpose.TRANSPOSE, (False, False)),
    6: (Image.Transpose.ROTATE_270, (True, False)),
    7: (Image.Transpose.TRANSVERSE, (True, True)),
    8: (Image.Transpose.ROTATE_90, (False, True)),
}
_UNCHANGED = (None, (False, False))
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
_DIRECT = {"RGB", "RGBX", "L", "1", "P", "CMYK", "YCbCr", "HSV"}  # convert("RGB") is defined
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}
_KEY_SCALE = {"L;2": 85, "L;4": 17}  # Pillow multiplies 2-bit and 4-bit grey by these
_LONG_NUMBER = re.compile(r"-?\d[\d,]{3,}")


def decode(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Do the work of `headstart.datasets.images.decode` in this thread, however long it takes."""
    with _image_errors(data), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size)
        full = image.size
        divisor = _decode_smaller(image, preprocess)
        key = _colour_key(image)
        image.load()
        turn, reverses = _orientation(image)
        if divisor == 1:
            upright = _to_rgb(image if turn is None else image.transpose(turn), key)
            return _fit(upright, preprocess)
        box = _stored_box(full, turn, reverses, preprocess)
        size = preprocess.size[::-1] if turn in _SIDEWAYS else preprocess.size
        crop = dct_scaling.resize(
            _to_rgb(image, key), full, divisor, box, size, preprocess.interpolation
        )
        return crop if turn is None else np.asarray(Image.fromarray(crop).transpose(turn))


def whole(data: bytes, shorter: int) -> NDArray[np.uint8]:
    """Decode a whole image, upright, to ``(h, w, 3) uint8`` RGB.

    A JPEG may be reduced, to no less than ``shorter`` pixels on its shorter side.
    """
    with _image_errors(data), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size)
        share = shorter / min(image.size)
        if share < 1:
            image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))
        key = _colour_key(image)
        image.load()
        turn, _ = _orientation(image)
        return np.array(_to_rgb(image if turn is None else image.transpose(turn), key))


@contextmanager
def _image_errors(data: bytes) -> Iterator[None]:
    """Turn the errors of decoders into an `ImageError` that names the defect."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(unknown(data)) from None
    except Image.DecompressionBombError:
        raise ImageError(TOO_MANY_PIXELS) from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise ImageError(_reason(error)) from None


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("the image has no pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(TOO_MANY_PIXELS)


def _orientation(
    image: Image.Image,
) -> tuple[Image.Transpose | None, tuple[bool, bool]]:
    """Return the transpose to upright, and which axes of the upright image it reverses."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1), _UNCHANGED)
    except Exception:  # EXIF may be damaged while the pixels are sound
        return _UNCHANGED


def _decode_smaller(image: ImageFile.ImageFile, preprocess: Preprocess) -> int:
    """Set a large JPEG to be decoded at a fraction of its size; return the divisor."""
    width, height = image.size
    layers = getattr(image, "layer", None)  # of a JPEG: name, sampling across and down, table
    if not layers or len(layers) != 3:
        return 1  # grey images: their channels share rounding errors, which moves the features
    usual = layers[0][1] == layers[0][2]
    divisor = dct_scaling.divisor(width, height, preprocess, usual)
    if divisor == 1:
        return 1
    drafted = image.draft(None, (width // divisor, height // divisor))
    return 1 if drafted is None else round(width / drafted[1][2])


def _stored_box(
    full: tuple[int, int],
    turn: Image.Transpose | None,
    reverses: tuple[bool, bool],
    preprocess: Preprocess,
) -> tuple[float, float, float, float]:
    """Return the crop's region in the stored image, before it is turned upright."""
    width, height = full[::-1] if turn in _SIDEWAYS else full
    left, top, right, bottom = crop_box(width, height, preprocess)
    if reverses[0]:
        left, right = width - right, width - left
    if reverses[1]:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if turn in _SIDEWAYS else (left, top, right, bottom)


def _colour_key(image: ImageFile.ImageFile) -> int | tuple[int, ...] | None:
    """Return a PNG's transparent colour, in Pillow's pixel values, at depths Pillow ignores it.

    Call it before the image is loaded.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not image.tile:
        return None
    raw_mode = image.tile[0].args
    if image.mode in _SIXTEEN_BIT or raw_mode in _KEY_SCALE:
        return int(key) * _KEY_SCALE.get(str(raw_mode), 1)
    if raw_mode == "RGB;16B":
        return tuple(int(channel) >> 8 for channel in key)
    return None


def _to_rgb(image: Image.Image, key: int | tuple[int, ...] | None) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if key is not None:
        pixels = np.asarray(image)
        hidden = pixels == np.array(key)
        hidden = hidden.all(axis=2) if hidden.ndim == 3 else hidden
        image.info.pop("transparency", None)
        rgb = np.array(_to_rgb(image, None))
        rgb[hidden] = 255
        return Image.fromarray(rgb)
    if image.mode in _SIXTEEN_BIT:
        high_byte = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high_byte).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode not in _DIRECT:
        raise ImageError(f"pixels of mode {image.mode} have no defined conversion to RGB")
    return image.convert("RGB")


def _fit(image: Image.Image, preprocess: Preprocess) -> NDArray[np.uint8]:
    height, width = preprocess.size
    box = crop_box(*image.size, preprocess)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    resample = _RESAMPLE[preprocess.interpolation]
    return np.asarray(image.resize((width, height), resample, box=box))


def _reason(error: Exception) -> str:
    """Return the same message for all files with the same defect."""
    text = _LONG_NUMBER.sub("N", one_line(error))
    lower = text.lower()
    if "truncated" in lower:
        return "truncated image"
    if lower.startswith("unsupported "):
        return f"not supported: {text[len('unsupported ') :]}"
    if lower.startswith("decoder error"):
        return "damaged image: its data cannot be decoded"
    return f"damaged image: {text}" if text else f"damaged image ({type(error).__name__})"
