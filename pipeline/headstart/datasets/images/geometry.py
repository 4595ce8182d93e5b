"""The region of an image that the crop shows."""

from __future__ import annotations

from headstart.core.records import Preprocess


def crop_box(width: int, height: int, preprocess: Preprocess) -> tuple[float, float, float, float]:
    """Return the region of the image that the centre crop shows, in source pixels.

    The box follows the roundings of torchvision's ``Resize`` and ``CenterCrop``, which timm uses
    too: without them, the image would shift by up to half a pixel and change the features.

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
    high, wide = preprocess.size
    left = round((new_width - wide) / 2.0)
    top = round((new_height - high) / 2.0)
    x, y = width / new_width, height / new_height
    return (left * x, top * y, (left + wide) * x, (top + high) * y)
