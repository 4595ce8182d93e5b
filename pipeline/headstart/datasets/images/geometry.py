"""What the network's array shows of an image, and where.

``crop`` and ``squash`` follow the roundings of torchvision's ``Resize`` and ``CenterCrop``, which
timm uses too: without them, the image would shift by up to half a pixel and change the features.
``pad`` shrinks or enlarges the whole image until it fits. ``whole`` gives it the proportions
nearest to its own, in nearly the area of the network's input, of sides that differ from the
input's by multiples of `STEP`: networks halve their maps five times, so their padding stays the
same, and few shapes occur. Images longer than 12 to 16 times their width are squashed to that.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from headstart.core.preprocess import Preprocess

STEP = 32  # pixels by which the sides of ``whole`` differ
_SMALL, _FINE = 96, 8  # inputs below so many pixels have finer steps
_LEAST = 4  # sides are a quarter of the input's at least, and four times it at most


class Placement(NamedTuple):
    """A region of the image, and its place in the array.

    Attributes:
        box: left, top, right and bottom side of the region, in the image's pixels.
        size: height and width that it is resized to.
        canvas: height and width of the array; equal to ``size`` without a border.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    canvas: tuple[int, int]

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the array where the resized region begins."""
        return (self.canvas[0] - self.size[0]) // 2, (self.canvas[1] - self.size[1]) // 2


def place(width: int, height: int, preprocess: Preprocess) -> Placement:
    """Return what one view shows of an upright image; see `Preprocess.each_view`."""
    whole = 0.0, 0.0, float(width), float(height)
    own = preprocess.input_size
    if preprocess.fit == "whole":
        size = proportioned(width, height, own)
        return Placement(whole, size, size)
    if preprocess.fit == "pad":
        return Placement(whole, _inside(width, height, own), own)
    return Placement(crop_box(width, height, preprocess), own, own)


def crop_box(width: int, height: int, preprocess: Preprocess) -> tuple[float, float, float, float]:
    """Return the region of the image that the centre crop shows, in source pixels.

    >>> crop_box(512, 256, Preprocess(resize=256, crop=224))
    (144.0, 16.0, 368.0, 240.0)
    """
    size = preprocess.resize
    if isinstance(size, tuple):
        new_height, new_width = size
    elif width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    high, wide = preprocess.input_size
    left = round((new_width - wide) / 2.0)
    top = round((new_height - high) / 2.0)
    x, y = width / new_width, height / new_height
    return (left * x, top * y, (left + wide) * x, (top + high) * y)


@lru_cache(maxsize=4096)
def proportioned(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of ``whole`` for an image; ``size`` is the network's input.

    >>> proportioned(400, 533, (224, 224)), proportioned(500, 500, (224, 224))
    ((256, 192), (224, 224))
    """
    high, wide = size

    def misfit(sides: tuple[int, int]) -> float:
        shape, area = sides[1] * height / (sides[0] * width), sides[0] * sides[1] / (high * wide)
        return max(shape, 1 / shape) * max(area, 1 / area)

    return min(((h, w) for h in _sides(high) for w in _sides(wide)), key=misfit)


def least_shrunk(width: int, height: int, preprocess: Preprocess) -> tuple[int, int]:
    """Return a side of an image and what it becomes, on the axis that shrinks least.

    The answer holds for the image and for the image turned by 90 degrees, as EXIF may turn it.
    """
    if not preprocess.fit:
        target = preprocess.resize
        return min(width, height), max(target) if isinstance(target, tuple) else target
    pairs = []
    for wide, high in ((width, height), (height, width)):
        size = place(wide, high, preprocess).size
        pairs += [(high, size[0]), (wide, size[1])]
    return min(pairs, key=lambda pair: pair[0] / pair[1])


def _sides(side: int) -> range:
    """Return the lengths that a side of the input may have in ``whole``."""
    step = STEP if side >= _SMALL else _FINE
    fewer = (side - -(-side // _LEAST)) // step
    return range(side - fewer * step, _LEAST * side + 1, step)


def _inside(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an image that is resized to fit into ``size``."""
    scale = min(size[0] / height, size[1] / width)
    return tuple(  # type: ignore[return-value]
        min(most, max(1, math.floor(side * scale + 0.5)))
        for side, most in zip((height, width), size, strict=True)
    )
