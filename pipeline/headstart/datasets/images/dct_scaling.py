"""Large JPEG files, decoded at a fraction of their size but resized as if from the full size.

At 1/2, 1/4 and 1/8, libjpeg-turbo returns the means of blocks of 2, 4 or 8 pixels a side
(``jidctred.c``) in a fraction of the time. Resizing the means as pixels would blur the image and
change the features. Instead, the full image is modelled as linear within each block, with the slope
between the neighbouring means, and resized with Pillow's weights for the full size. The result is
linear in the means, so it needs one small matrix per axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.core.preprocess import Preprocess
from headstart.datasets.images.geometry import least_shrunk

KEPT = 2.9  # decoded size over target size, at least; measured: docs/decisions (11)
STRICTER = 1.4  # times `KEPT` for colours subsampled along one axis, which move features more
TILE_ROWS = 16
_PRODUCT = 1 << 18  # larger products would start OpenBLAS threads besides the workers


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 1, 1 - np.abs(x), 0)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]
KERNELS: dict[str, tuple[_Kernel, float]] = {  # of records.INTERPOLATIONS, each with its radius
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic, 2),
    "lanczos": (_lanczos, 3),
}


class Tile(NamedTuple):
    """The non-zero part of some rows of a weight matrix."""

    row: int
    first: int
    weights: NDArray[np.floating]


def divisor(width: int, height: int, preprocess: Preprocess, usual: bool = True) -> int:
    """Return by what to divide the sides of a JPEG, given in pixels: 1, 2, 4 or 8.

    ``usual`` means that its colours are not subsampled, or along both axes.
    """
    if preprocess.interpolation not in KERNELS:
        return 1  # a reduced image lacks the nearest pixel
    full, side = least_shrunk(width, height, preprocess)
    enough = KEPT * side * (1 if usual else STRICTER)
    return next((d for d in (8, 4, 2) if full >= d * enough), 1)


def resize(
    image: Image.Image,
    full: tuple[int, int],
    divisor: int,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    interpolation: str,
) -> NDArray[np.uint8]:
    """Resize a region of an RGB image that was decoded at ``1 / divisor`` of its full size.

    ``full`` is the width and height of the full image, ``box`` the region in its pixels, ``size``
    the height and width of the result, ``(height, width, 3) uint8``. Nearest-neighbour
    interpolation is not supported.
    """
    height, width = size
    columns, rows = (
        _tiles(full[axis], divisor, box[axis], box[axis + 2], side, interpolation)
        for axis, side in enumerate((width, height))
    )
    (left, right), (top, bottom) = reach(columns), reach(rows)
    means = np.asarray(image.crop((left, top, right, bottom))).astype(np.float32)
    strip = multiply(rows, top, means.reshape(bottom - top, -1), height)
    strip = strip.reshape(height, right - left, 3).transpose(1, 0, 2)
    out = multiply(columns, left, np.ascontiguousarray(strip).reshape(right - left, -1), width)
    out = np.clip(np.rint(out), 0, 255).reshape(width, height, 3).transpose(1, 0, 2)
    return np.ascontiguousarray(out, dtype=np.uint8)


@lru_cache(maxsize=64)
def _tiles(
    size: int, divisor: int, low: float, high: float, side: int, interpolation: str
) -> tuple[Tile, ...]:
    """Return the weights of one axis, ``(side, ceil(size / divisor))``, in tiles."""
    pixel, weights = _full_weights(size, low, high, side, interpolation)
    count = -(-size // divisor)
    block, within = np.divmod(pixel, divisor)
    cell = (block + np.arange(side)[:, None] * count).ravel()
    lever = (within - (divisor - 1) / 2) / (2 * divisor)  # factor of the difference of neighbours

    def gather(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(cell, values.ravel(), side * count).astype(np.float64)
        return sums.reshape(side, count)

    means, slopes = gather(weights), gather(weights * lever)
    means[:, 1:] += slopes[:, :-1]
    means[:, -1] += slopes[:, -1]  # beyond the edge, as at the edge
    means[:, :-1] -= slopes[:, 1:]
    means[:, 0] -= slopes[:, 0]
    tiles = []
    for row in range(0, side, TILE_ROWS):
        rows = means[row : row + TILE_ROWS]
        used = np.flatnonzero(rows.any(axis=0))
        first, last = int(used[0]), int(used[-1])
        tiles.append(Tile(row, first, rows[:, first : last + 1].astype(np.float32)))
    return tuple(tiles)


def _full_weights(
    size: int, low: float, high: float, side: int, interpolation: str
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return source pixels and weights for each of ``side`` pixels.

    Source: ``precompute_coeffs`` in Pillow's ``Resample.c``.
    """
    kernel, reach = KERNELS[interpolation]
    scale = (high - low) / side
    stretch = max(scale, 1.0)
    centre = (low + (np.arange(side) + 0.5) * scale)[:, None]
    first = np.maximum(np.trunc(centre - reach * stretch + 0.5), 0)
    end = np.minimum(np.trunc(centre + reach * stretch + 0.5), size)
    pixel = first + np.arange(int((end - first).max()))
    weights = np.where(pixel < end, kernel((pixel - centre + 0.5) / stretch), 0)
    pixel = np.minimum(pixel, size - 1)
    return pixel.astype(np.intp), weights / weights.sum(axis=1, keepdims=True)


def reach(tiles: tuple[Tile, ...]) -> tuple[int, int]:
    """Return the first position that has a weight, and the end of all."""
    ends = [tile.first + tile.weights.shape[1] for tile in tiles]
    return min(tile.first for tile in tiles), max(ends)


def multiply(
    tiles: tuple[Tile, ...], start: int, values: NDArray[np.floating], side: int
) -> NDArray[np.floating]:
    """Multiply weights by ``(n, k)`` values that begin at position ``start``; ``(side, k)``.

    Weights and values are of the same type.
    """
    out = np.empty((side, values.shape[1]), values.dtype)
    for row, first, weights in tiles:
        source = values[first - start : first - start + weights.shape[1]]
        step = max(1, _PRODUCT // weights.size)
        for column in range(0, values.shape[1], step):
            part = slice(column, column + step)
            np.matmul(weights, source[:, part], out=out[row : row + len(weights), part])
    return out
