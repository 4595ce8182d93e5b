"""JPEG files that are decoded at a fraction of their size show what they show at full size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import dct_scaling, decode, pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

SMALL = Preprocess(resize=40, crop=32)
PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def photo(width: int, height: int, orientation: int = 1, detail: int = 24) -> bytes:
    rng = np.random.default_rng(width + height)
    coarse = Image.fromarray(rng.integers(0, 256, (detail, detail + 8, 3), np.uint8))
    tags = Image.Exif()
    tags[0x0112] = orientation
    out = io.BytesIO()
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    image.save(out, "JPEG", quality=95, subsampling=0, exif=tags)
    return out.getvalue()


def in_full(data: bytes, preprocess: Preprocess, monkeypatch) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(dct_scaling, "KEPT", 10**6)
        return decode(data, preprocess).astype(int)


@pytest.mark.parametrize(
    ("short", "divisor"), [(231, 1), (232, 2), (463, 2), (464, 4), (927, 4), (928, 8), (9999, 8)]
)
def test_how_small_follows_from_the_shorter_side(short, divisor):
    assert dct_scaling.divisor(short, short + 100, SMALL) == divisor
    assert dct_scaling.divisor(short + 100, short, SMALL) == divisor
    assert dct_scaling.divisor(short, short, Preprocess(40, 32, "nearest")) == 1


def test_a_photo_of_twelve_megapixels_is_decoded_at_a_quarter():
    assert dct_scaling.divisor(4000, 3000, Preprocess(256, 224)) == 4
    assert dct_scaling.divisor(4000, 3000, Preprocess(256, 224), usual=False) == 2


@pytest.mark.parametrize("divisor", [2, 4, 8])
@pytest.mark.parametrize("size", [(640, 480), (637, 483)])
def test_the_decoder_gives_means_of_blocks(size, divisor):
    """What `scaled` builds on; another decoder may reduce differently."""
    data = photo(*size)
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (size[0] // divisor, size[1] // divisor))
        small = np.asarray(image).astype(int)
    with Image.open(io.BytesIO(data)) as image:
        whole = np.asarray(image).astype(float)
    rows, columns = size[1] // divisor, size[0] // divisor
    assert small.shape == (-(-size[1] // divisor), -(-size[0] // divisor), 3)
    blocks = whole[: rows * divisor, : columns * divisor]
    means = blocks.reshape(rows, divisor, columns, divisor, 3).mean((1, 3))
    assert np.abs(small[:rows, :columns] - means).max() < 3


@pytest.mark.parametrize("interpolation", PILLOW)
@given(
    size=st.integers(40, 900),
    ends=st.tuples(st.floats(0, 0.4), st.floats(0.6, 1)),
)
def test_the_full_weights_are_pillows(interpolation, size, ends):
    """Pillow's own, seen by resizing an image that is an identity matrix."""
    low, high = np.float32(np.array(ends) * size).tolist()
    high = min(high, size)
    at, weights = dct_scaling._full_weights(size, low, high, 32, interpolation)
    dense = np.zeros((32, size))
    np.add.at(dense, (np.arange(32)[:, None], at), weights)
    unit = Image.fromarray(np.eye(size, dtype=np.float32))
    box = (0, low, size, high)
    expected = unit.resize((size, 32), PILLOW[interpolation], box=box)
    assert np.abs(dense - np.asarray(expected)).max() < 1e-4


@given(
    size=st.integers(80, 900),
    divisor=st.sampled_from([2, 4, 8]),
    ends=st.tuples(st.floats(0.05, 0.4), st.floats(0.6, 0.95)),
    interpolation=st.sampled_from(list(PILLOW)),
)
def test_a_ramp_comes_back_exactly(size, divisor, ends, interpolation):
    """Weights made for block means give, of a straight line, what the full weights give."""
    low, high = ends[0] * size, ends[1] * size
    at, weights = dct_scaling._full_weights(size, low, high, 32, interpolation)
    count = -(-size // divisor)
    means = (np.arange(count) + 0.5) * divisor - 0.5
    tiles = dct_scaling._tiles(size, divisor, low, high, 32, interpolation)
    got = dct_scaling.multiply(tiles, 0, means[:, None].astype(np.float32), 32)[:, 0]
    expected = (at * weights).sum(axis=1)
    inner = (at.min(axis=1) >= divisor) & (at.max(axis=1) < size - 2 * divisor)
    assert np.abs(got - expected)[inner].max(initial=0) < 1e-2
    ones = dct_scaling.multiply(tiles, 0, np.ones((count, 1), np.float32), 32)
    assert np.abs(ones - 1).max() < 1e-4  # of a flat image, at the edges too


@pytest.mark.cases(16)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(704, 640), (1301, 1285), (643, 709), (331, 1407)])
def test_the_crop_is_that_of_the_whole_image(size, orientation, monkeypatch):
    """In every orientation, and where the divisor leaves a part of a pixel over."""
    data = photo(*size, orientation)
    small = decode(data, SMALL).astype(int)
    whole = in_full(data, SMALL, monkeypatch)
    assert np.abs(small - whole).mean() < 0.7
    # A shift by a tenth of a pixel of the crop would be seen: it changes more than that.
    assert np.abs(np.roll(whole, 1, axis=1) - whole).mean() > 10


@pytest.mark.parametrize("interpolation", PILLOW)
def test_every_interpolation_and_a_crop_that_reaches_the_edges(interpolation, monkeypatch):
    preprocess = Preprocess(36, 36, interpolation)
    data = photo(403, 403, detail=12)
    small, whole = decode(data, preprocess).astype(int), in_full(data, preprocess, monkeypatch)
    assert np.abs(small - whole).mean() < 1
    assert np.abs(small - whole)[[0, -1]].max() < 12


def test_nothing_wraps_around_at_black_and_white(monkeypatch):
    """Weights may be negative: what they give below 0 and above 255 is cut, not wrapped."""
    board = np.kron(np.indices((40, 40)).sum(axis=0) % 2, np.ones((16, 16)))
    out = io.BytesIO()
    Image.fromarray((board * 255).astype(np.uint8)).save(out, "JPEG", quality=100)
    small = decode(out.getvalue(), SMALL).astype(int)
    assert np.abs(small - in_full(out.getvalue(), SMALL, monkeypatch)).max() < 40


@pytest.mark.slow
@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF"])
def test_other_formats_are_decoded_whole(form, monkeypatch):
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo(700, 700))) as image:
        image.save(out, form)
    small = decode(out.getvalue(), SMALL)
    assert (small == in_full(out.getvalue(), SMALL, monkeypatch)).all()


@pytest.mark.parametrize(
    ("mode", "subsampling", "divisor"),
    [("RGB", 0, 4), ("RGB", 1, 2), ("RGB", 2, 4), ("L", 0, 1), ("CMYK", 0, 1)],
)
def test_colours_halved_one_way_keep_more_and_grey_is_decoded_whole(mode, subsampling, divisor):
    out = io.BytesIO()
    Image.new(mode, (700, 500)).save(out, "JPEG", subsampling=subsampling)
    with Image.open(io.BytesIO(out.getvalue())) as image:
        assert pixels._decode_smaller(image, SMALL) == divisor


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_kind_of_jpeg(mode, monkeypatch):
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo(800, 700))) as image:
        image.convert(mode).save(out, "JPEG")
    small = decode(out.getvalue(), SMALL).astype(int)
    assert np.abs(small - in_full(out.getvalue(), SMALL, monkeypatch)).mean() < 1.5


def test_a_truncated_one_is_refused():
    data = photo(1300, 1300)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2], SMALL)
