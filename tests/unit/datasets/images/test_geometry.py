"""Fits and views: what the array shows of an image, of any proportions and orientation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.datasets.images import fixed_point, pixels
from headstart.datasets.images.geometry import proportioned
from odd_images import encoded, exif_orientation, jpeg_with, picture
from PIL import Image

PAD = Preprocess((64, 64), 64, fit="pad", fill=(10, 20, 30))
WHOLE = Preprocess((64, 64), 64, fit="whole")
BOTH = Preprocess(72, 64, views="crop+whole")
ODD = [(1, 4000), (3000, 10), (1, 1), (2, 500), (333, 250)]  # width and height


def png(width: int, height: int) -> bytes:
    return encoded(picture(width, height), "PNG")


@pytest.mark.parametrize("side", [64, 160, 224, 240, 260, 288])
def test_whole_images_keep_area_and_nearly_their_proportions(side):
    step = 32 if side >= 96 else 8
    for width, height in [(1, 1), (4, 3), (3, 4), (3, 2), (16, 9), (2, 1), (1, 3)]:
        h, w = proportioned(width, height, (side, side))
        assert (h - side) % step == (w - side) % step == 0
        assert 0.7 < h * w / side**2 < 1.3
        assert 0.77 < (w / h) / (width / height) < 1.3
    assert proportioned(7, 7, (side, side)) == (side, side)


@pytest.mark.parametrize("rules", [PAD, WHOLE, BOTH, Preprocess(72, 64)])
@pytest.mark.parametrize("size", ODD)
def test_long_images_give_small_arrays(size, rules):
    array = images.decode(png(*size), rules)
    assert array.size <= 2 * 3 * 64 * 64 * 1.3
    assert array.shape == (*rules.size, 3) or rules.fit == "whole"


def test_a_border_lies_around_the_whole_image():
    array = images.decode(png(200, 100), PAD)
    photo = Image.fromarray(picture(200, 100))
    inner = fixed_point.resize(photo, (0, 0, 200, 100), (32, 64), "bicubic")
    assert (array[16:48] == inner).all()
    assert (array[:16] == PAD.fill).all()
    assert (array[48:] == PAD.fill).all()


def test_the_whole_image_is_above_nothing_and_below_the_crop():
    data = png(200, 150)
    array = images.decode(data, BOTH)
    assert array.shape == (128, 64, 3)
    assert (array[:64] == images.decode(data, Preprocess(72, 64))).all()
    assert (array[64:] == images.decode(data, Preprocess((64, 64), 64))).all()


def test_three_pictures_lie_in_the_order_of_their_names():
    data = png(200, 150)
    rules = Preprocess(72, 64, views="crop+flip+pad+whole", fill=PAD.fill)
    array = images.decode(data, rules)
    assert array.shape == (192, 64, 3)
    parts = [Preprocess(72, 64), PAD, Preprocess((64, 64), 64)]
    assert (array == np.concatenate([images.decode(data, part) for part in parts])).all()


@pytest.mark.slow
@pytest.mark.parametrize("rules", [PAD, WHOLE, BOTH])
@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("size", [(200, 150), (1600, 700)])
def test_turned_images_are_fitted_upright(rules, orientation, size):
    tag = exif_orientation(orientation, 3)
    stored = picture(*size)
    turned = jpeg_with(encoded(stored, "JPEG", quality=100, subsampling=0), 0xE1, tag)
    upright = np.asarray(Image.fromarray(stored).transpose(pixels._UPRIGHT[orientation][0]))
    expected = images.decode(encoded(upright, "BMP"), rules)
    array = images.decode(turned, rules)
    assert array.shape == expected.shape
    assert np.abs(array.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("rules", [PAD, WHOLE, BOTH])
def test_large_jpegs_at_a_fraction_look_as_at_full_size(rules, monkeypatch):
    data = encoded(picture(1500, 1000, 2), "JPEG", quality=95)
    used = []
    resize = pixels.dct_scaling.resize
    monkeypatch.setattr(
        pixels.dct_scaling, "resize", lambda *args: used.append(args[2]) or resize(*args)
    )
    array = images.decode(data, rules)
    assert max(used) >= 4
    monkeypatch.setattr(pixels, "_decode_smaller", lambda *_: 1)
    assert np.abs(array.astype(int) - images.decode(data, rules)).max() <= 12


@pytest.mark.process
@pytest.mark.parametrize("rules", [WHOLE, BOTH])
def test_a_process_decodes_to_the_same_array(rules):
    data = png(120, 50)
    assert (images.decode_apart(data, rules) == images.decode(data, rules)).all()


def test_what_is_the_default_is_not_written():
    assert Preprocess(8, 8).to_json().keys() == {"resize", "crop", "interpolation", "policy"}
    for rules in (PAD, WHOLE, BOTH, dataclasses.replace(BOTH, views="flip", own_size=False)):
        assert Preprocess.from_json(rules.to_json()) == rules
    with pytest.raises(ValueError, match="no fit"):
        Preprocess(8, 8, fit="wide")
