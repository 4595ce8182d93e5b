"""Image bytes to arrays: a pure function of (bytes, `Preprocess`). Sole user of Pillow.

The written policy, version `POLICY`; whatever changes a pixel changes the version:

- Only JPEG (with MPO), PNG, WebP, BMP, TIFF and GIF are opened, whatever the file is called.
- The first frame of an animation or a multi-page file is used.
- EXIF orientation is applied; unreadable EXIF counts as none.
- Transparency (alpha, transparent palette entry, or colour key) is laid over white. Pillow knows a
  colour key at 1 and 8 bits a channel only; at other depths its pixels are shown as they are.
- 16-bit grey keeps its high byte, as decoders do with 16-bit colour; 1-bit, grey and palette
  images become RGB; CMYK and YCbCr are converted by Pillow's fixed formulas.
- Embedded ICC profiles are ignored, as the reference pipelines of the pretrained networks do.
- 32-bit integer and floating-point pixels have no defined range and are refused, like every
  colour space that Pillow cannot convert to RGB.
- A truncated image is refused, not filled with grey.
- An image of more than `MAX_PIXELS` is refused before it is decoded.
- A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, which costs a fraction
  of the time, as long as its shorter side keeps `KEPT` times the size that it is resized to.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import ImageError, one_line
from pipeline.records import Preprocess

POLICY = 2
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: half a gigabyte of RGB
MAX_FILE_BYTES = 1 << 30
MINIATURE = 32
KEPT = 4  # measured: see ARCHITECTURE.md

_RESAMPLE = {  # of records.INTERPOLATIONS
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {  # EXIF orientation: the turn, and which axes of the upright image it reverses
    2: (Image.Transpose.FLIP_LEFT_RIGHT, (True, False)),
    3: (Image.Transpose.ROTATE_180, (True, True)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, (False, True)),
    5: (Image.Transpose.TRANSPOSE, (False, False)),
    6: (Image.Transpose.ROTATE_270, (True, False)),
    7: (Image.Transpose.TRANSVERSE, (True, True)),
    8: (Image.Transpose.ROTATE_90, (False, True)),
}
_AS_IT_IS = (None, (False, False))
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
_DIRECT = {"RGB", "RGBX", "L", "1", "P", "CMYK", "YCbCr", "HSV"}  # convert("RGB") is defined
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}


def read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a regular file whole, with its state when it was opened.

    Raises:
        ImageError: it is missing, unreadable, too large or no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise ImageError("not a regular file")
            if info.st_size > MAX_FILE_BYTES:
                raise ImageError(f"the file is larger than {MAX_FILE_BYTES >> 20:,} MiB")
            with os.fdopen(handle, "rb", buffering=0, closefd=False) as file:
                return file.readall(), info
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise ImageError("file not found") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {_cause(error)}") from None


def decode(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Turn the bytes of an image file into the array that a backbone takes.

    Args:
        data: the whole file.
        preprocess: sizes and interpolation.

    Returns:
        ``(height, width, 3) uint8``, RGB, of `Preprocess.size`.

    Raises:
        ImageError: the bytes are no image, or one that the policy refuses.
    """
    if not data:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size)
            full = image.size
            scale = _decode_smaller(image, preprocess)
            image.load()
            if scale == 1:
                full = image.size  # decoding a TIFF turns it upright
            turn, reverses = _orientation(image)
            upright = _to_rgb(image if turn is None else image.transpose(turn))
            if turn in _SIDEWAYS:
                full = full[::-1]
            return _fit(upright, full, scale, reverses, preprocess)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not a JPEG, PNG, WebP, BMP, TIFF or GIF image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise ImageError(_reason(error)) from None


def miniature(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ``(32, 32, 3) uint8`` miniature of a crop, by box averaging."""
    small = Image.fromarray(crop).resize((MINIATURE, MINIATURE), Image.Resampling.BOX)
    return np.asarray(small)


def crop_box(width: int, height: int, preprocess: Preprocess) -> tuple[float, float, float, float]:
    """Return the region of the source that the centre crop shows, in source pixels.

    The reference (torchvision's ``Resize`` and ``CenterCrop``, which timm uses too) resizes to
    whole pixels, truncating the longer side, and rounds the crop's offset. The box follows both
    roundings: an unrounded box would shift the image by up to half a pixel, and the features
    with it.

    >>> crop_box(512, 256, Preprocess(resize=256, crop=224))
    (144.0, 16.0, 368.0, 240.0)
    """
    size = preprocess.resize
    if isinstance(size, tuple):
        new_height, new_width = size
    elif width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    high, wide = preprocess.size
    left = round((new_width - wide) / 2.0)
    top = round((new_height - high) / 2.0)
    x, y = width / new_width, height / new_height
    return (left * x, top * y, (left + wide) * x, (top + high) * y)


def encode(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    file_format: str,
    mode: str | None = None,
    subsampling: int = 2,
    quality: int = 92,
) -> bytes:
    """Return pixels as the bytes of an image file.

    Args:
        pixels: ``(h, w)``, ``(h, w, 3)`` or ``(h, w, 4) uint8``, or ``(h, w) uint16``.
        file_format: one of `FORMATS`.
        mode: Pillow's name of the mode to convert to first, if any.
        subsampling: of the colours of a JPEG: 0 none, 2 both ways.
        quality: of a JPEG or WebP file, up to 100.
    """
    image = Image.fromarray(pixels)
    if mode is not None:
        image = image.convert(mode)
    out = io.BytesIO()
    options = {"JPEG": {"subsampling": subsampling, "quality": quality}}
    options["WEBP"] = {"quality": quality}
    image.save(out, format=file_format, **options.get(file_format, {}))
    return out.getvalue()


def save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(h, w, 3)`` or ``(h, w) uint8`` pixels as a PNG file."""
    path.write_bytes(encode(pixels, "PNG"))


def save_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(h, w, 3)`` or ``(h, w) uint8`` pixels as a JPEG file."""
    path.write_bytes(encode(pixels, "JPEG"))


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("the image has no pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} × {height} is more than {MAX_PIXELS:,} pixels")


def _orientation(
    image: Image.Image,
) -> tuple[Image.Transpose | None, tuple[bool, bool]]:
    """Return what turns the image upright, and which axes of the upright image that reverses."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1), _AS_IT_IS)
    except Exception:  # damaged EXIF says nothing of the pixels
        return _AS_IT_IS


def _decode_smaller(image: Image.Image, preprocess: Preprocess) -> int:
    """Let a JPEG be decoded at a fraction of its size, if it is large; returns the divisor.

    The decoder leaves out the highest frequencies of each block of 8 × 8 pixels, which costs
    little besides reading the file.
    """
    width, height = image.size
    resize = preprocess.resize
    # Of a fixed size no side may fall short, and which one is which EXIF tells later.
    enough = KEPT * (max(resize) if isinstance(resize, tuple) else resize)
    for divisor in (8, 4, 2):
        if min(width, height) >= divisor * enough:
            # Only the JPEG decoder knows how; the others do nothing and return None.
            drafted = image.draft(None, (width // divisor, height // divisor))
            return 1 if drafted is None else round(width / drafted[1][2])
    return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
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


def _fit(
    image: Image.Image,
    full: tuple[int, int],
    scale: int,
    reverses: tuple[bool, bool],
    preprocess: Preprocess,
) -> NDArray[np.uint8]:
    """Resize the crop out of an upright image that was decoded at ``1 / scale`` of its full size.

    A side that ``scale`` does not divide is rounded up, so the last pixel reaches beyond the
    image; an axis that was reversed since has that excess at its start.
    """
    box = []
    for at, edge in enumerate(crop_box(*full, preprocess)):
        axis = at % 2
        excess = image.size[axis] - full[axis] / scale if reverses[axis] else 0.0
        box.append(min(edge / scale + excess, image.size[axis]))
    height, width = preprocess.size
    resample = _RESAMPLE[preprocess.interpolation]
    return np.asarray(image.resize((width, height), resample, box=(box[0], box[1], box[2], box[3])))


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(error)


def _reason(error: Exception) -> str:
    text = one_line(error)
    if "truncated" in text.lower():
        return "truncated image"
    return f"damaged image: {text}" if text else f"damaged image ({type(error).__name__})"
