"""Writes arrays as image files: the demo data, the certificate's probes and downloaded sets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    file_format: str,
    mode: str | None = None,
    subsampling: int = 2,
    quality: int = 92,
) -> bytes:
    """Encode ``(h, w)``, ``(h, w, 3)`` or ``(h, w, 4) uint8``, or ``(h, w) uint16``, as a file.

    The format is one of `headstart.datasets.images.FORMATS`. ``mode`` is a Pillow mode to convert
    to first. For JPEG, ``subsampling`` of colours is 0 (none) or 2 (along both axes); for JPEG and
    WebP, ``quality`` is at most 100. A WebP file is 4 % larger than the smallest, at half the time.
    """
    image = Image.fromarray(pixels)
    if mode is not None:
        image = image.convert(mode)
    out = io.BytesIO()
    options = {"JPEG": {"subsampling": subsampling, "quality": quality}}
    options["WEBP"] = {"quality": quality, "method": 2}
    image.save(out, format=file_format, **options.get(file_format, {}))
    return out.getvalue()


def save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(h, w, 3)`` or ``(h, w) uint8`` pixels as a PNG file."""
    path.write_bytes(encode(pixels, "PNG"))


def save_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(h, w, 3)`` or ``(h, w) uint8`` pixels as a JPEG file."""
    path.write_bytes(encode(pixels, "JPEG"))
