"""A map drawn over the picture as its viewer sees it: upright and whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.datasets.images.geometry import place

SIDE = 448  # longer side of a drawing, in pixels
_FOR, _AGAINST = (255, 140, 0), (40, 90, 255)  # orange and blue, which differ for all eyes
_OPACITY = 0.8
_STRONG = 0.995  # the share of a map below its strongest colour
_OUTSIDE = 0.45  # brightness of what the model does not see


class Map(NamedTuple):
    """A map ``(h, w)``, and where it lies: left, top, right and bottom, in pixels of a picture."""

    heat: NDArray[np.float64]
    box: tuple[float, float, float, float]


def picture_of(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Decode the whole upright image, ``(h, w, 3) uint8``, of at most `SIDE` pixels."""
    return images.reduced(images.decode_whole(data, preprocess), SIDE)


def overlay(picture: NDArray[np.uint8], maps: Sequence[Map]) -> NDArray[np.uint8]:
    """Return a grey picture with what speaks for a class in orange, and against it in blue.

    Where maps overlap, their values add up, each by the area of the picture, so that a map of a
    small box and one of a large box with equal means count the same. It is the same scale for both
    colours; what lies outside all boxes is dark.
    """
    height, width = picture.shape[:2]
    grey = np.repeat((picture @ np.array([0.299, 0.587, 0.114]))[:, :, np.newaxis], 3, axis=2)
    total, seen = np.zeros((height, width)), np.zeros((height, width), bool)
    for heat, (left, top, right, bottom) in maps:
        rows = ((np.arange(height) + 0.5 - top) / (bottom - top) * len(heat)).astype(int)
        columns = ((np.arange(width) + 0.5 - left) / (right - left) * heat.shape[1]).astype(int)
        inside = np.outer(
            (np.arange(height) + 0.5 >= top) & (rows < len(heat)),
            (np.arange(width) + 0.5 >= left) & (columns < heat.shape[1]),
        )
        places = np.ix_(np.clip(rows, 0, len(heat) - 1), np.clip(columns, 0, heat.shape[1] - 1))
        density = heat.size / ((right - left) * (bottom - top))
        total += np.where(inside, density * heat[places], 0)
        seen |= inside
    strongest = float(np.quantile(np.abs(total[seen]), _STRONG)) if seen.any() else 0.0
    values = np.clip(total / (strongest or 1.0), -1, 1)[:, :, np.newaxis]
    colour = np.where(values > 0, np.array(_FOR), np.array(_AGAINST))
    opacity = _OPACITY * np.abs(values)
    drawn = (1 - opacity) * grey + opacity * colour
    shown = np.where(seen[:, :, np.newaxis], drawn, _OUTSIDE * grey)
    return np.asarray(shown.round().astype(np.uint8))


def maps_of(
    picture: NDArray[np.uint8], heat: NDArray[np.float64], preprocess: Preprocess
) -> list[Map]:
    """Return where the ``(h, w)`` map of the model's array lies in an upright picture.

    Each view of ``preprocess`` has its part of the map, without its border.
    """
    height, width = picture.shape[:2]
    views = preprocess.each_view
    maps = []
    for view, part in zip(views, np.split(heat, len(views)), strict=True):
        placement = place(width, height, view)
        # A whole image's proportions may be rounded otherwise in the smaller picture.
        if view.fit == "whole":
            maps.append(Map(part, placement.box))
            continue
        (top, left), (high, wide) = placement.corner, placement.size
        maps.append(Map(part[top : top + high, left : left + wide], placement.box))
    return maps
