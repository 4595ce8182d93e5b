"""HEIC is read with an optional package, and refused with its name without it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import decode, is_ordinary, pixels
from odd_images import picture
from PIL import Image

PHOTO = picture(96, 64)
EXACT = Preprocess((64, 96), (64, 96), "nearest")


def heic(pixels_: np.ndarray, **options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels_)).save(out, quality=95, **options)
    return out.getvalue()


def test_it_is_read_in_a_process_of_its_own():
    data = heic(PHOTO)
    assert not is_ordinary(data)
    assert np.abs(decode(data, EXACT).astype(int) - PHOTO).mean() < 8


def test_it_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = heic(np.ascontiguousarray(np.rot90(PHOTO)), exif=exif.tobytes())
    assert np.abs(pixels.decode(turned, EXACT).astype(int) - PHOTO).mean() < 8


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    data = heic(PHOTO)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC.*pip install"):
        pixels.decode(data, EXACT)
