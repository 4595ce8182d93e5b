"""Image bytes to arrays: a pure function of (bytes, `Preprocess`). Sole user of Pillow.

The written policy, version `POLICY`; whatever changes a pixel changes the version:

- Only JPEG (with MPO), PNG, WebP, BMP, TIFF and GIF are opened, whatever the file is called.
- The first frame of an animation or a multi-page file is used.
- EXIF orientation is applied; unreadable EXIF counts as none.
- Transparency (alpha, transparent palette entry, or colour key) is composited over white. A colour
  key of 16-bit colour is compared by its high bytes, which are all that Pillow keeps.
- 16-bit grey keeps its high byte, as decoders do with 16-bit colour; 1-bit, grey and palette
  images become RGB; CMYK and YCbCr are converted by Pillow's fixed formulas.
- Embedded ICC profiles are ignored, as the reference pipelines of the pretrained networks do.
- 32-bit integer and floating-point pixels have no defined range and are refused, like every
  colour space that Pillow cannot convert to RGB.
- A truncated image is refused, not filled with grey.
- An image of more than `MAX_PIXELS` is refused before it is decoded.
- A colour JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, which costs a
  fraction of the time, as long as its shorter side keeps `KEPT` times the size that it is resized
  to, the longer one of a fixed size (more where its colours are halved one way); the resize makes
  up for it.
- A file that is not certain to be decoded soon is decoded by a process with limits of time and
  memory (`isolated`), and refused when it reaches them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import isolated, pixels
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
    "POLICY",
    "check_size",
    "crop_box",
    "decode",
    "decode_apart",
    "decode_whole",
    "encode",
    "is_ordinary",
    "miniature",
    "read_file",
    "save_jpeg",
    "save_png",
]

POLICY = 3
MINIATURE = 32


def decode(data: bytes, preprocess: Preprocess, seconds: int | None = None) -> NDArray[np.uint8]:
    """Turn the bytes of an image file into ``(height, width, 3) uint8`` RGB of `Preprocess.size`.

    ``seconds`` limits the processor time of a file that is not certain to be decoded soon
    (`is_ordinary`); None means the usual limit.

    Raises:
        ImageError: the bytes are not an image, or one that the policy refuses.
    """
    if not data:
        raise ImageError("empty file")
    if is_ordinary(data):
        return pixels.decode(data, preprocess)
    return isolated.decode(data, preprocess, seconds)


def decode_apart(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Do what `decode` does, always in a process of its own.

    Raises:
        ImageError: also if a limit of time or memory is reached, or the decoder crashes.
    """
    if not data:
        raise ImageError("empty file")
    return isolated.decode(data, preprocess)


def decode_whole(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return the whole upright image, ``(h, w, 3) uint8`` RGB, to take random crops from.

    Its shorter side is at least twice that of the crop, where the file has that. A file that is not
    certain to be decoded soon gives the crop of `decode` instead.

    Raises:
        ImageError: as `decode`.
    """
    if data and is_ordinary(data):
        return pixels.whole(data, 2 * min(preprocess.size))
    return decode(data, preprocess)


def miniature(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ``(32, 32, 3) uint8`` miniature of a crop, by box averaging."""
    small = Image.fromarray(crop).resize((MINIATURE, MINIATURE), Image.Resampling.BOX)
    return np.asarray(small)
