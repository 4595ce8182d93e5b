"""Features that are means over places, and the places of one image behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.views import pictures_of

_SAME = 0.9999  # cosine of features and means, but for rounding

Array = NDArray[np.float64]
Window: TypeAlias = "tuple[int, int, int, int]"


class Part(NamedTuple):
    """Features that are means over the places of a map.

    ``tensor`` has the values, ``columns`` the features, and ``window`` is the region of a view that
    the map lies over: left, top, right and bottom, in pixels. ``height`` is that of the view.
    """

    tensor: str
    columns: slice
    channels_last: bool
    window: Window
    height: int = 0


class Places(NamedTuple):
    """What a part of the features has at each place of one view of an image.

    ``values`` are ``(h, w, c)``; the sum of their means over all views is the ``columns`` of the
    features. ``window`` is the region of the model's picture that they lie over.
    """

    values: Array
    columns: slice
    window: Window


def places_of(
    parts: Sequence[Part], tensors: Mapping[str, NDArray[Any]], rows: Array, pictures: int
) -> Iterator[Places]:
    """Yield the places of each part in each view of one image.

    ``rows`` are the features of the views, whose mean is that of the image. The model's picture is
    ``pictures`` views, one above the other; a further view is the mirror image of the first.
    """
    for part in parts:
        left, top, right, bottom = part.window
        for row, values, (picture, mirrored) in zip(
            rows.astype(np.float64),
            tensors[part.tensor],
            pictures_of(len(rows), pictures),
            strict=True,
        ):
            own = _channels_last(values, part)
            own *= _factor(row[part.columns], own) / len(rows)
            down = picture * part.height
            window = left, top + down, right, bottom + down
            yield Places(own[:, ::-1] if mirrored else own, part.columns, window)


def fitting(name: str, values: NDArray[Any], features: Array, start: int) -> Part | None:
    """Return the part of the features, from ``start`` on, that is the mean of a map, if it is."""
    if values.ndim != 4:
        return None
    for channels_last in (False, True):
        stop = start + values.shape[3 if channels_last else 1]
        part = Part(name, slice(start, stop), channels_last, (0, 0, 0, 0))
        if stop > len(features):
            continue
        mean = _channels_last(values[0], part).mean(axis=(0, 1))
        own = features[part.columns]
        norms = np.linalg.norm(mean) * np.linalg.norm(own)
        if norms > 0 and mean @ own >= _SAME * norms:
            return part
    return None


def _channels_last(values: NDArray[Any], part: Part) -> Array:
    """Return a map of one image as ``(h, w, channels)``."""
    turned = values if part.channels_last else np.moveaxis(values, 0, -1)
    return turned.astype(np.float64)


def _factor(features: Array, places: Array) -> float:
    """Return what the mean of a map is multiplied by to give the features."""
    mean = places.mean(axis=(0, 1))
    squared = float(mean @ mean)
    return float(mean @ features) / squared if squared else 0.0
