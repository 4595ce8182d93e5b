"""Resizing with weights of 16 bits: the same bits with the package and without it."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import PIL
import pytest
from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.datasets.images import fixed_point, pixels
from headstart.datasets.images.encoding import encode
from headstart.datasets.images.fixed_point import by_package, by_products, region
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("cykooz_resizer") is None,
    reason="no cykooz-resizer for this platform",
)


def noise(height: int, width: int, seed: int = 0, hard: bool = False) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray((values > 127).astype(np.uint8) * 255 if hard else values)


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(fixed_point, "is_accelerated", lambda: False)


@needs_package
class TestSameBits:
    @given(
        size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
        out=st.tuples(st.integers(1, 60), st.integers(1, 60)),
        ends=st.tuples(*[st.floats(0, 1)] * 4),
        interpolation=st.sampled_from(list(PILLOW)),
        hard=st.booleans(),
    )
    @example((1, 1), (40, 40), (0.0, 1.0, 0.0, 1.0), "lanczos", False)
    @example((200, 3), (60, 60), (0.0, 1.0, 0.0, 1.0), "bicubic", True)
    @example((60, 60), (60, 60), (0.0, 1.0, 0.0, 1.0), "bicubic", False)
    def test_of_any_region(self, size, out, ends, interpolation, hard):
        sides = []
        for side, low, high in zip(size, ends[::2], ends[1::2], strict=True):
            low, high = sorted((low, high))
            length = max(high - low, 0.01) * side
            start = min(low * side, side - length)
            sides.append((start, start + length))
        (top, bottom), (left, right) = sides
        image = noise(*size, hard=hard)
        part = region(image, (left, top, right, bottom), out, interpolation)
        expected = by_products(image, part, out, interpolation)
        assert (by_package(image, part, out, interpolation) == expected).all()

    @pytest.mark.parametrize("size", [(533, 400), (400, 533), (224, 224), (150, 90), (1400, 1100)])
    @pytest.mark.parametrize("interpolation", PILLOW)
    def test_of_crops(self, size, interpolation, monkeypatch):
        data = encode(np.asarray(noise(*size, hard=True)), "BMP")
        preprocess = Preprocess(256, 224, interpolation)
        fast = pixels.decode(data, preprocess)
        monkeypatch.setattr(fixed_point, "is_accelerated", lambda: False)
        assert (pixels.decode(data, preprocess) == fast).all()

    def test_with_and_without_vector_instructions(self):
        from cykooz_resizer import CpuExtensions

        image, size = noise(533, 400), (224, 224)
        part = region(image, (25.0, 91.5, 375.0, 441.5), size, "bicubic")
        resizer = fixed_point._resizer()
        usual = resizer.cpu_extensions
        expected = by_package(image, part, size, "bicubic")
        try:
            for extensions in {CpuExtensions.none, usual}:
                resizer.cpu_extensions = extensions
                got = by_package(image, part, size, "bicubic")
                assert (got == expected).all(), extensions
        finally:
            resizer.cpu_extensions = usual


class TestProducts:
    @pytest.mark.parametrize("size", [20, 57, 400, 3000])
    @pytest.mark.parametrize("interpolation", PILLOW)
    def test_sums_are_exact(self, size, interpolation):
        """The tiles hold whole multiples of a power of two, and no sum of them is rounded."""
        tiles = fixed_point._tiles(size, 0.0, float(size), 48, interpolation)
        exact = 1 << (24 if tiles[0].weights.dtype == np.float32 else 53)
        for tile in tiles:
            whole = tile.weights.astype(np.float64) * 2.0**fixed_point._MOST_BITS
            assert (whole == np.rint(whole)).all()
            units = whole[whole != 0]
            unit = math.gcd(*np.abs(units).astype(int).tolist())
            assert 255 * np.abs(whole).sum(axis=1).max() / unit < exact
        dense = np.zeros((48, size))
        for tile in tiles:
            rows, columns = tile.weights.shape
            dense[tile.row : tile.row + rows, tile.first : tile.first + columns] = tile.weights
        assert dense.sum(axis=1) == pytest.approx(1, abs=2e-3)

    @pytest.mark.parametrize("interpolation", PILLOW)
    def test_it_is_pillows_picture(self, interpolation, no_package):
        smooth = noise(40, 30).resize((400, 533), Image.Resampling.BICUBIC)
        box = (25.0, 91.5, 375.0, 441.5)
        got = fixed_point.resize(smooth, box, (224, 224), interpolation)
        expected = np.asarray(smooth.resize((224, 224), PILLOW[interpolation], box=box))
        difference = np.abs(got.astype(int) - expected)
        assert difference.max() <= 2
        assert difference.mean() < 0.02

    def test_one_colour_stays(self, no_package):
        for value in (0, 1, 127, 254, 255):
            flat = Image.new("RGB", (517, 333), (value, value, value))
            crop = fixed_point.resize(flat, (0, 0, 517, 333), (224, 224), "bicubic")
            assert (crop == value).all()


class TestPolicies:
    def test_the_former_one_is_pillows_to_the_bit(self):
        photo = noise(533, 400)
        old = Preprocess(256, 224, policy=3)
        expected = photo.resize((224, 224), PILLOW["bicubic"], box=images.crop_box(400, 533, old))
        data = encode(np.asarray(photo), "PNG")
        assert (images.decode(data, old) == np.asarray(expected)).all()
        assert (images.decode(data, Preprocess(256, 224)) != np.asarray(expected)).any()

    def test_another_version_of_pillow_is_not_read_in_place(self, monkeypatch):
        fixed_point.is_accelerated.cache_clear()
        monkeypatch.setattr(PIL, "__version__", "99.0.0")
        assert not fixed_point.is_accelerated()
        fixed_point.is_accelerated.cache_clear()

    @needs_package
    def test_a_package_that_gives_other_bits_is_not_used(self, monkeypatch):
        assert fixed_point.is_accelerated()
        way = fixed_point.by_package
        fixed_point.is_accelerated.cache_clear()
        monkeypatch.setattr(fixed_point, "by_package", lambda *arguments: way(*arguments) ^ 1)
        assert not fixed_point.is_accelerated()
        fixed_point.is_accelerated.cache_clear()


class TestBoxMeans:
    @pytest.mark.slow
    @needs_package
    @pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 16, 21, 32])
    def test_every_sum_is_rounded_as_by_pillow(self, times):
        """Each pixel of a miniature is the mean of other values, along one axis and the other."""
        count = 255 * times + 1
        for start in range(0, count, 32 * 32):
            sums = (start + np.arange(32 * 32)).reshape(32, 32) % count
            rows = np.clip(sums - 255 * np.arange(times)[:, None, None], 0, 255).astype(np.uint8)
            tall = rows.transpose(1, 0, 2).reshape(32 * times, 32).repeat(times, axis=1)
            crop = np.ascontiguousarray(tall[..., np.newaxis].repeat(3, axis=2))
            self.check(crop, times)
            self.check(np.ascontiguousarray(crop.transpose(1, 0, 2)), times)

    @needs_package
    @pytest.mark.parametrize("shape", [(224, 224), (96, 288), (64, 32), (224, 230), (20, 32)])
    def test_noise(self, shape):
        self.check(np.asarray(noise(*shape)), shape[0] // 32)

    def check(self, crop, times):
        small = Image.fromarray(crop).resize((32, 32), Image.Resampling.BOX)
        assert (images.miniature(crop) == np.asarray(small)).all()
        even = times % 2 == 0 and times & (times - 1)
        assert (fixed_point.box_means(crop, 32) is None) >= bool(even)

    def test_without_the_package(self, no_package):
        crop = np.asarray(noise(224, 224))
        assert fixed_point.box_means(crop, 32) is None
        small = Image.fromarray(crop).resize((32, 32), Image.Resampling.BOX)
        assert (images.miniature(crop) == np.asarray(small)).all()
