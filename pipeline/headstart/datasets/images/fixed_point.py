"""Resizes images with weights of 16 bits, to the same bits on every machine.

As by Pillow, each row is made narrower first, rounded to 8 bits, and then the columns. All weights
of an axis are rounded to multiples of the same power of two, the smallest for which they fit into
16 bits, as by torch for uint8 and by the Rust library fast_image_resize. So every sum is one of
whole numbers.

The package cykooz-resizer is fast_image_resize for Python. Where it is missing, matrix products
give the same bits, slower: floating point is exact for whole numbers that fit into its mantissa.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from headstart.datasets.images.dct_scaling import KERNELS, TILE_ROWS, Tile, multiply, reach

if TYPE_CHECKING:
    from cykooz_resizer import Resizer

_PILLOWS = ("12", "13")  # major versions whose images cykooz-resizer 4 reads in place
_LARGEST = 1 << 15  # weights are smaller
_MOST_BITS = 21  # of a weight's fraction
_EXACT = 1 << 24  # whole numbers up to this are float32
_FILTERS = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
_local = threading.local()


class Region(NamedTuple):
    """A part of an image, in its pixels; ``top`` is counted from row ``first``.

    The rows from ``first`` to ``end`` are all that its resized pixels depend on.
    """

    left: float
    width: float
    top: float
    height: float
    first: int
    end: int


def region(
    image: Image.Image,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    interpolation: str,
) -> Region:
    """Return a box of an image (its left, top, right and bottom side) that is to be resized."""
    left, top, right, bottom = box
    radius = KERNELS[interpolation][1] * max((bottom - top) / size[0], 1.0)
    first = max(0, math.floor(top - radius))
    end = min(image.height, math.ceil(bottom + radius))
    columns = _extent(left, right, image.width)
    return Region(*columns, *_extent(top - first, bottom - first, end - first), first, end)


def resize(
    image: Image.Image,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    interpolation: str,
) -> NDArray[np.uint8]:
    """Resize a region of an RGB image, with antialiasing.

    ``box`` has the region's left, top, right and bottom side in pixels, ``size`` the height and
    width of the result, ``(height, width, 3) uint8``. Nearest-neighbour interpolation is not
    supported.
    """
    way = by_package if is_accelerated() else by_products
    return way(image, region(image, box, size, interpolation), size, interpolation)


def by_package(
    image: Image.Image, part: Region, size: tuple[int, int], interpolation: str
) -> NDArray[np.uint8]:
    """Resize with cykooz-resizer, which has to be installed; see `resize`."""
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions

    height, width = size
    rows = part.end - part.first
    algorithm = ResizeAlg.convolution(FilterType[_FILTERS[interpolation]])
    box = CropBox(part.left, float(part.first), part.width, float(rows))
    narrow = _scratch((width, rows))
    # Both axes at once, the package would resize the rows first.
    _resizer().resize_pil(image, narrow, ResizeOptions(resize_alg=algorithm, crop_box=box))
    box = CropBox(0.0, part.top, float(width), part.height)
    out = Image.new("RGB", (width, height), None)
    _resizer().resize_pil(narrow, out, ResizeOptions(resize_alg=algorithm, crop_box=box))
    return np.asarray(out)


def by_products(
    image: Image.Image, part: Region, size: tuple[int, int], interpolation: str
) -> NDArray[np.uint8]:
    """Resize with matrix products, to the bits of `by_package`; see `resize`."""
    height, width = size
    columns = _tiles(image.width, part.left, part.width, width, interpolation)
    rows = _tiles(part.end - part.first, part.top, part.height, height, interpolation)
    left, right = reach(columns)
    top, bottom = reach(rows)
    turned = image.crop((left, part.first + top, right, part.first + bottom)).transpose(
        Image.Transpose.TRANSPOSE
    )
    strip = _rounded(columns, left, np.asarray(turned).reshape(right - left, -1), width)
    narrow = Image.fromarray(strip.reshape(width, bottom - top, 3)).transpose(
        Image.Transpose.TRANSPOSE
    )
    out = _rounded(rows, top, np.asarray(narrow).reshape(bottom - top, -1), height)
    return out.reshape(height, width, 3)


def resize_pixels(
    pixels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    interpolation: str,
) -> NDArray[np.uint8]:
    """Resize a region of ``(h, w, 3) uint8``; see `resize`."""
    return resize(Image.fromarray(pixels), box, size, interpolation)


def axis_weights(
    size: int, low: float, length: float, side: int, interpolation: str
) -> NDArray[np.floating]:
    """Return the weights of one axis, ``(side, size)``, with which `resize` multiplies."""
    weights = np.zeros((side, size))
    for tile in _tiles(size, *_extent(low, low + length, size), side, interpolation):
        rows, columns = tile.weights.shape
        weights[tile.row : tile.row + rows, tile.first : tile.first + columns] = tile.weights
    return weights


def box_means(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8] | None:
    """Shrink ``(h, w, 3) uint8`` to a square of means, with the bits of Pillow's box filter.

    None where cykooz-resizer is missing or would round otherwise: it does not if the sides are
    ``side`` times an odd number or a power of two.
    """
    height, width = pixels.shape[:2]
    if not is_accelerated() or not (_is_plain(height, side) and _is_plain(width, side)):
        return None
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions

    options = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.box))
    whole = ImageData(width, height, PixelType.U8x3, pixels.tobytes())
    narrow = ImageData(side, height, PixelType.U8x3)  # Pillow resizes the columns first
    small = ImageData(side, side, PixelType.U8x3)
    _resizer().resize(whole, narrow, options)
    _resizer().resize(narrow, small, options)
    return np.frombuffer(small.get_buffer(), np.uint8).reshape(side, side, 3)


@cache
def is_accelerated() -> bool:
    """Whether cykooz-resizer is there, knows this Pillow, and gives the bits of the products."""
    major = PIL.__version__.partition(".")[0]
    if major not in _PILLOWS or importlib.util.find_spec("cykooz_resizer") is None:
        return False
    noise = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    image, size = Image.fromarray(noise), (16, 16)
    part = region(image, (7.5, 0.25, 52.5, 45.0), size, "bicubic")
    ours, theirs = (way(image, part, size, "bicubic") for way in (by_products, by_package))
    return np.array_equal(ours, theirs)


def _resizer() -> Resizer:
    from cykooz_resizer import Resizer

    resizer: Resizer | None = getattr(_local, "resizer", None)
    if resizer is None:
        resizer = _local.resizer = Resizer()
    return resizer


def _scratch(size: tuple[int, int]) -> Image.Image:
    """Return an image to overwrite, this thread's last one if it fits: new memory is slow."""
    image: Image.Image | None = getattr(_local, "scratch", None)
    if image is None or image.size != size:
        image = _local.scratch = Image.new("RGB", size, None)
    return image


def _extent(low: float, high: float, size: int) -> tuple[float, float]:
    """Return start and length of an interval whose end, as a sum, is not beyond ``size``."""
    length = min(high, size) - low
    return low, length if low + length <= size else math.nextafter(length, 0)


def _is_plain(size: int, side: int) -> bool:
    times, rest = divmod(size, side)
    return not rest and times > 0 and (times % 2 == 1 or times & (times - 1) == 0)


def _rounded(
    tiles: tuple[Tile, ...], start: int, pixels: NDArray[np.uint8], side: int
) -> NDArray[np.uint8]:
    out = multiply(tiles, start, pixels.astype(tiles[0].weights.dtype), side)
    out += 0.5
    return np.clip(out, 0, 255, out=out).astype(np.uint8)


@lru_cache(maxsize=64)
def _tiles(size: int, low: float, length: float, side: int, interpolation: str) -> tuple[Tile, ...]:
    """Return the weights of one axis, ``(side, size)``, in tiles."""
    first, weights = _weights(size, low, length, side, interpolation)
    tiles = []
    for row in range(0, side, TILE_ROWS):
        starts = first[row : row + TILE_ROWS]
        part = weights[row : row + TILE_ROWS]
        end = min(size, int(starts[-1]) + part.shape[1])
        dense = np.zeros((len(part), end - int(starts[0])), weights.dtype)
        for line, (start, values) in enumerate(zip(starts - starts[0], part, strict=True)):
            dense[line, start : start + len(values)] = values[: dense.shape[1] - start]
        tiles.append(Tile(row, int(starts[0]), dense))
    return tuple(tiles)


def _rounded_away(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to the nearest whole number, halves away from zero."""
    towards = np.trunc(values)
    return towards + np.where(np.abs(values - towards) >= 0.5, np.sign(values), 0)


def _weights(
    size: int, low: float, length: float, side: int, interpolation: str
) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Return the first source pixel of each of ``side`` pixels, and the weights from there on.

    Source: ``precompute_coefficients`` and ``Normalizer16`` in fast_image_resize 6.
    """
    kernel, radius = KERNELS[interpolation]
    scale = (low + length - low) / side
    stretch = max(scale, 1.0)
    centre = (low + (np.arange(side) + 0.5) * scale)[:, None]
    first = np.maximum(np.floor(centre - radius * stretch), 0)
    end = np.minimum(np.ceil(centre + radius * stretch), size)
    pixel = first + np.arange(int((end - first).max()))
    weights = np.where(pixel < end, kernel((pixel - (centre - 0.5)) * (1 / stretch)), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    largest = float(weights.max())
    bits = 0
    while bits < _MOST_BITS and math.floor(largest * 2.0 ** (bits + 1) + 0.5) < _LARGEST:
        bits += 1
    whole = _rounded_away(weights * 2.0**bits)
    highest = 255 * np.abs(whole).sum(axis=1).max() + 2.0 ** (bits - 1)
    exact = np.float32 if highest < _EXACT else np.float64
    return first[:, 0].astype(np.intp), (whole / 2.0**bits).astype(exact)
