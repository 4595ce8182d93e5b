"""Images to arrays: a pure function of (bytes, `Preprocess`). Only this package uses Pillow.

These rules are version `POLICY`; those of `POLICIES` are kept. Any change of a pixel needs a new
version:

- JPEG (with MPO), PNG, WebP, AVIF, BMP, TIFF and GIF are opened, whatever the name, and HEIC with
  an optional package; the first frame only. `tiff` has the table of the kinds of TIFF.
- EXIF orientation is applied; unreadable EXIF is ignored, and so are ICC profiles, as by the
  reference pipelines of the pretrained networks, unless `Preprocess.colour` says otherwise.
- Transparency (alpha, palette entry or colour key) is composited over white. Pillow keeps only the
  high bytes of 16-bit colour, so its colour keys are compared by them.
- Samples of 9 to 16 bits keep their 8 high bits; signed integers, floating point and more bits are
  refused. `Preprocess.value_range` gives black and white for a whole set instead (`depth`).
- CMYK and YCbCr are converted by Pillow's fixed formulas.
- Damaged metadata are left out; files that were never written to their end are refused.
- Truncated images, and images of more than `MAX_PIXELS`, are refused.
- Images are resized with weights of 16 bits, see `fixed_point`; by version 3, they were resized by
  Pillow, and differ by a level here and there.
- Large colour JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, see `dct_scaling`.
- A file that might take long is decoded in a process with limits of time and memory (`isolated`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.core.errors import ImageError
from headstart.core.preprocess import Preprocess
from headstart.datasets.images import fixed_point, isolated, pixels, surveys
from headstart.datasets.images.dct_scaling import KEPT
from headstart.datasets.images.encoding import encode, save_jpeg, save_png
from headstart.datasets.images.geometry import crop_box
from headstart.datasets.images.header import MAX_PIXELS, is_ordinary
from headstart.datasets.images.pixels import FORMATS
from headstart.datasets.images.reading import MAX_FILE_BYTES, check_size, read_file

__all__ = [
    "FORMATS",
    "KEPT",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MINIATURE",
    "POLICIES",
    "POLICY",
    "REMARKS",
    "check_size",
    "crop_box",
    "decode",
    "decode_apart",
    "decode_whole",
    "encode",
    "is_ordinary",
    "miniature",
    "read_file",
    "reduced",
    "remark",
    "save_jpeg",
    "save_png",
    "set_values",
]

POLICY = 4
POLICIES = (3, POLICY)
REMARKS = {  # what is said of images, and what to do
    surveys.NARROW: (
        "that use less than an eighth of their range",
        "if other values are black and white, use --range LOW:HIGH or --range percentile",
    ),
    surveys.PLAIN: ("of one colour", ""),
    surveys.CLEAR: ("that are wholly transparent", "the network sees white"),
    surveys.ZEROS: (
        "with zeros where data may be missing",
        "copy them again if they are incomplete",
    ),
}
MINIATURE = 32


def decode(data: bytes, preprocess: Preprocess, seconds: int | None = None) -> NDArray[np.uint8]:
    """Decode an image file to ``(height, width, 3) uint8`` RGB of `Preprocess.size`.

    ``seconds`` limits the processor time of a file that is not `is_ordinary`; None is the default.

    Raises:
        ImageError: the bytes are not an image, or an image that the policy refuses.
    """
    if not data:
        raise ImageError("empty file")
    if is_ordinary(data):
        return pixels.decode(data, preprocess)
    return isolated.decode(data, preprocess, seconds)


def decode_apart(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Decode like `decode`, but always in a separate process."""
    if not data:
        raise ImageError("empty file")
    return isolated.decode(data, preprocess)


def decode_whole(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Decode the whole upright image, ``(h, w, 3) uint8`` RGB, for random crops.

    A large image is reduced, to at least twice the crop on its shorter side. A file that is not
    `is_ordinary` gives the crop of `decode` instead.
    """
    if data and is_ordinary(data):
        return pixels.whole(data, preprocess, 2 * min(preprocess.size))
    return decode(data, preprocess)


def set_values(data: bytes) -> tuple[bool, NDArray[np.float64]]:
    """Return whether an image has samples of more than 8 bits, and up to 4,096 of its values.

    Raises:
        ImageError: as for `decode`.
    """
    answer = surveys.values(data) if is_ordinary(data) else isolated.look(data, "values")
    return bool(answer[0]), np.frombuffer(answer, np.float64, offset=1)


def remark(data: bytes, crop: NDArray[np.uint8]) -> str:
    """Return one of the keys of `REMARKS` for an image that shows next to nothing, else nothing."""
    kind = surveys.emptiness(data, crop)
    if kind != surveys.PLAIN or not (crop == 255).all():
        return kind
    answer = surveys.is_clear(data) if is_ordinary(data) else isolated.look(data, "clear")
    return surveys.CLEAR if answer[0] else kind


def miniature(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ``(32, 32, 3) uint8`` miniature of a crop, by box averaging."""
    small = fixed_point.box_means(crop, MINIATURE)
    if small is not None:
        return small
    side = MINIATURE, MINIATURE
    return np.asarray(Image.fromarray(crop).resize(side, Image.Resampling.BOX))


def reduced(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return a picture with at most ``longest`` pixels on its longer side, uncropped."""
    height, width = pixels.shape[:2]
    share = longest / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(share * width)), max(1, round(share * height))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
