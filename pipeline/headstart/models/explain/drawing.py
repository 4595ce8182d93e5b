"""A map drawn over the picture as its viewer sees it: upright and whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.datasets.images.geometry import crop_box

SIDE = 448  # longer side of a drawing, in pixels
_FOR, _AGAINST = (255, 140, 0), (40, 90, 255)  # orange and blue, which differ for all eyes
_OPACITY = 0.8
_STRONG = 0.995  # the share of a map below its strongest colour
_OUTSIDE = 0.45  # brightness of what the model does not see


def picture_of(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Decode the whole upright image, ``(h, w, 3) uint8``, of at most `SIDE` pixels."""
    return images.reduced(images.decode_whole(data, preprocess), SIDE)


def overlay(
    picture: NDArray[np.uint8], heat: NDArray[np.float64], box: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """Return a grey picture with what speaks for a class in orange, and against it in blue.

    ``box`` is where the ``(h, w)`` map lies: left, top, right and bottom, in pixels of the picture.
    It is the same scale for both colours; what lies outside the box is dark.
    """
    height, width = picture.shape[:2]
    grey = np.repeat((picture @ np.array([0.299, 0.587, 0.114]))[:, :, np.newaxis], 3, axis=2)
    left, top, right, bottom = box
    rows = ((np.arange(height) + 0.5 - top) / (bottom - top) * len(heat)).astype(int)
    columns = ((np.arange(width) + 0.5 - left) / (right - left) * heat.shape[1]).astype(int)
    inside_rows = (np.arange(height) + 0.5 >= top) & (rows < len(heat))
    inside_columns = (np.arange(width) + 0.5 >= left) & (columns < heat.shape[1])
    strongest = float(np.quantile(np.abs(heat), _STRONG)) or 1.0
    values = np.clip(heat / strongest, -1, 1)[
        np.ix_(np.clip(rows, 0, len(heat) - 1), np.clip(columns, 0, heat.shape[1] - 1))
    ][:, :, np.newaxis]
    colour = np.where(values > 0, np.array(_FOR), np.array(_AGAINST))
    opacity = _OPACITY * np.abs(values)
    drawn = (1 - opacity) * grey + opacity * colour
    seen = np.outer(inside_rows, inside_columns)[:, :, np.newaxis]
    return np.asarray(np.where(seen, drawn, _OUTSIDE * grey).round().astype(np.uint8))


def seen_box(
    picture: NDArray[np.uint8], preprocess: Preprocess
) -> tuple[float, float, float, float]:
    """Return the region of an upright picture that the model sees, in its pixels."""
    height, width = picture.shape[:2]
    return crop_box(width, height, preprocess)
