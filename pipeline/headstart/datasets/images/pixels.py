"""Decodes images with Pillow, by the rules in the package's docstring."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from headstart.core.errors import ImageError, one_line
from headstart.core.preprocess import Preprocess
from headstart.datasets.images import colour, dct_scaling, fixed_point, header, jpeg, png
from headstart.datasets.images.depth import applies, bounds, scale
from headstart.datasets.images.geometry import Placement, place
from headstart.datasets.images.header import MAX_PIXELS, TOO_MANY_PIXELS
from headstart.datasets.images.opening import SCALED, check_whole, open_image

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")

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
_JPEG = ("JPEG", "MPO")
_PILLOW_RESIZES = 3  # the last policy by which Pillow does
_ESSENTIALS = {"JPEG": jpeg.essentials, "PNG": png.essentials}
_VAGUE = ("cannot load this image", "broken data stream when reading image file")
_DEFECTS = {"JPEG": jpeg.defect, "PNG": png.defect}
_LONG_NUMBER = re.compile(r"-?\d[\d,]{3,}")


Result = TypeVar("Result")


def decode(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Do the work of `headstart.datasets.images.decode` in this thread, however long it takes."""
    return attempt(data, lambda content: _decode(content, preprocess))


def whole(data: bytes, preprocess: Preprocess, shorter: int) -> NDArray[np.uint8]:
    """Decode a whole image, upright, to ``(h, w, 3) uint8`` RGB.

    A JPEG may be reduced, to no less than ``shorter`` pixels on its shorter side.
    """
    return attempt(data, lambda content: _whole(content, preprocess, shorter))


def attempt(data: bytes, work: Callable[[bytes], Result]) -> Result:
    """Do something with a file, and again without its metadata if these are damaged.

    Raises:
        ImageError: names the defect.
    """
    try:
        check_whole(data)
        try:
            return work(data)
        except (ImageError, Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            kind = header.kind(data) or ""
            rest = _ESSENTIALS[kind](data) if kind in _ESSENTIALS else b""
            if header.kind(rest) != kind:
                raise ImageError(_reason(error, data)) from None
            try:
                return work(rest)
            except (ImageError, Image.DecompressionBombError, MemoryError):
                raise
            except Exception as second:
                raise ImageError(_reason(second, data)) from None
    except Image.DecompressionBombError:
        raise ImageError(TOO_MANY_PIXELS) from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None


def _decode(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    with open_image(data, preprocess.value_range) as image:
        _check_size(image.size)
        full = image.size
        divisor = _decode_smaller(image, preprocess)
        key = _colour_key(image)
        image.load()
        if image.format in _JPEG:
            jpeg.check_rows(data, image)
        turn, reverses = _orientation(image)
        if divisor == 1:
            upright = image if turn is None else image.transpose(turn)
            rgb = _to_rgb(upright, key, preprocess)
            return _viewed(rgb.size, preprocess, lambda view: _fit(rgb, view, preprocess))
        rgb, sideways = _to_rgb(image, key, preprocess), turn in _SIDEWAYS

        def resized(view: Placement) -> NDArray[np.uint8]:
            box = _stored_box(view.box, full[::-1] if sideways else full, reverses, sideways)
            size = view.size[::-1] if sideways else view.size
            part = dct_scaling.resize(rgb, full, divisor, box, size, preprocess.interpolation)
            return part if turn is None else np.asarray(Image.fromarray(part).transpose(turn))

        return _viewed(full[::-1] if sideways else full, preprocess, resized)


def _viewed(
    size: tuple[int, int],
    preprocess: Preprocess,
    resized: Callable[[Placement], NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    """Return the views of an upright image of ``size`` (width, height), one above the other."""
    parts = []
    for view in preprocess.each_view:
        placement = place(*size, view)
        part = resized(placement)
        if placement.canvas != placement.size:
            (top, left), (height, width) = placement.corner, placement.size
            canvas = np.empty((*placement.canvas, 3), np.uint8)
            canvas[:] = preprocess.fill
            canvas[top : top + height, left : left + width] = part
            part = canvas
        parts.append(part)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _whole(data: bytes, preprocess: Preprocess, shorter: int) -> NDArray[np.uint8]:
    with open_image(data, preprocess.value_range) as image:
        _check_size(image.size)
        share = shorter / min(image.size)
        if share < 1 and isinstance(image, ImageFile.ImageFile):
            image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))
        key = _colour_key(image)
        image.load()
        if image.format in _JPEG:
            jpeg.check_rows(data, image)
        turn, _ = _orientation(image)
        upright = image if turn is None else image.transpose(turn)
        return np.array(_to_rgb(upright, key, preprocess))


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
        value = image.getexif().get(_ORIENTATION, 1)
        if isinstance(value, bytes):  # stored as BYTE
            value = int.from_bytes(value[:2].rstrip(b"\0"), "little")
        if isinstance(value, tuple):
            value = value[0]
        return _UPRIGHT.get(value, _UNCHANGED)
    except Exception:  # EXIF may be damaged while the pixels are sound
        return _UNCHANGED


def _decode_smaller(image: Image.Image, preprocess: Preprocess) -> int:
    """Set a large JPEG to be decoded at a fraction of its size; return the divisor."""
    width, height = image.size
    layers = getattr(image, "layer", None)  # of a JPEG: name, sampling across and down, table
    if not layers or len(layers) != 3 or not isinstance(image, ImageFile.ImageFile):
        return 1  # grey images: their channels share rounding errors, which moves the features
    usual = layers[0][1] == layers[0][2]
    divisor = dct_scaling.divisor(width, height, preprocess, usual)
    if divisor == 1:
        return 1
    drafted = image.draft(None, (width // divisor, height // divisor))
    return 1 if drafted is None else round(width / drafted[1][2])


def _stored_box(
    box: tuple[float, float, float, float],
    upright: tuple[int, int],
    reverses: tuple[bool, bool],
    sideways: bool,
) -> tuple[float, float, float, float]:
    """Return a region of the upright image in the stored one, before that is turned."""
    width, height = upright
    left, top, right, bottom = box
    if reverses[0]:
        left, right = width - right, width - left
    if reverses[1]:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if sideways else (left, top, right, bottom)


def _colour_key(image: Image.Image) -> int | tuple[int, ...] | None:
    """Return a PNG's transparent colour, in Pillow's pixel values, at depths Pillow ignores it.

    Call it before the image is loaded.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not isinstance(image, ImageFile.ImageFile):
        return None
    if not image.tile:
        return None
    raw_mode = image.tile[0].args
    if image.mode in _SIXTEEN_BIT or raw_mode in _KEY_SCALE:
        return int(key) * _KEY_SCALE.get(str(raw_mode), 1)
    if raw_mode == "RGB;16B":
        return tuple(int(channel) >> 8 for channel in key)
    return None


def _to_rgb(
    image: Image.Image, key: int | tuple[int, ...] | None, preprocess: Preprocess
) -> Image.Image:
    if _is_bmp_without_alpha(image):
        image = image.convert("RGB")
    if applies(preprocess.value_range, 8) and SCALED not in image.info:
        if key is not None:  # a colour of the pixels before they are scaled
            image, key = _flattened(image, key), None
        image = _scaled(image, preprocess.value_range)
    return _flattened(colour.manage(image, preprocess.colour), key)


def _is_bmp_without_alpha(image: Image.Image) -> bool:
    """Tell whether an image is a BMP with a mask for alpha that is empty."""
    bmp = image.format == "BMP" and image.mode == "RGBA"
    return bmp and image.getchannel("A").getextrema()[1] == 0


def _scaled(image: Image.Image, value_range: str) -> Image.Image:
    """Apply a range to samples of 8 bits; palettes and inks have none."""
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        return image
    if "transparency" in image.info:  # likewise
        image = image.convert("RGBA")
    table = scale(np.arange(256, dtype=np.uint8), *(bounds(value_range) or (0, 255))).tolist()
    colours = len(image.mode.removesuffix("A"))
    return image.point(table * colours + list(range(256)) * (len(image.mode) - colours))


def _flattened(image: Image.Image, key: int | tuple[int, ...] | None) -> Image.Image:
    """Return an image as RGB, over white where it is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if key is not None:
        pixels = np.asarray(image)
        hidden = pixels == np.array(key)
        hidden = hidden.all(axis=2) if hidden.ndim == 3 else hidden
        image.info.pop("transparency", None)
        rgb = np.array(_flattened(image, None))
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


def _fit(image: Image.Image, view: Placement, preprocess: Preprocess) -> NDArray[np.uint8]:
    (left, top, right, bottom), (height, width) = view.box, view.size
    box = (left, top, min(right, image.width), min(bottom, image.height))
    if preprocess.policy > _PILLOW_RESIZES and preprocess.interpolation != "nearest":
        return fixed_point.resize(image, box, view.size, preprocess.interpolation)
    resample = _RESAMPLE[preprocess.interpolation]
    return np.asarray(image.resize((width, height), resample, box=box))


def _reason(error: Exception, data: bytes) -> str:
    """Return the same message for all files with the same defect."""
    kind = header.kind(data) or "file"
    text = _LONG_NUMBER.sub("N", one_line(str(error).strip()))
    if isinstance(error, UnidentifiedImageError) or text in _VAGUE:
        defect = _DEFECTS.get(kind)
        return defect(data) if defect else f"damaged image: {kind} that cannot be decoded"
    lower = text.lower()
    if "truncated" in lower or "end of file" in lower or _is_short(data, kind):
        return "truncated image"
    if lower.startswith("unsupported "):
        return f"not supported: {text[len('unsupported ') :]}"
    if lower.startswith("decoder error") or "decoder object" in lower:
        return f"damaged image: the data of this {kind} cannot be decoded"
    return f"damaged image: {text}" if text else f"damaged image ({type(error).__name__})"


def _is_short(data: bytes, kind: str) -> bool:
    return kind == "WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data)
