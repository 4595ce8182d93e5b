"""HEIC and other HEIF files, with the optional pillow-heif."""

from __future__ import annotations

import io

from PIL import Image

from headstart.core.errors import ImageError, how_to_install


def open_image(data: bytes) -> Image.Image:
    """Return the primary image of a HEIF file, upright.

    Raises:
        ImageError: pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        raise ImageError(f"HEIC, which needs pillow-heif: {how_to_install('heif')}") from None
    image: Image.Image = pillow_heif.open_heif(io.BytesIO(data)).to_pillow()
    image.info.pop("exif", None)  # libheif has turned the image
    image.info.pop("xmp", None)
    return image
