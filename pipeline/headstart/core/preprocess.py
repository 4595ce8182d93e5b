"""How an image becomes a network's input: a record without behaviour."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
VIEWS = (
    *("flip", "crop+whole", "crop+flip+whole", "crop+pad", "crop+flip+pad", "crop+pad+whole"),
    "crop+flip+pad+whole",
)  # of an image, whose features are averaged; `canonical_views` takes other spellings


@dataclass(frozen=True)
class Preprocess:
    """How an image file becomes a ``(height, width, 3) uint8`` array.

    Attributes:
        resize: shorter side after resizing, in pixels, or ``(height, width)`` of any proportions.
        crop: side of the central square, in pixels, or ``(height, width)``.
        interpolation: one of `INTERPOLATIONS`, always antialiased.
        policy: version of the decoding rules in `datasets.images`.
        value_range: what is black and white in images of the whole set: ``LOW:HIGH``, ``dtype``,
            or empty for the policy's own rules; see `datasets.images.depth`.
        colour: ``srgb`` converts colour profiles; empty ignores them.
        quality: one of `choices.QUALITIES`, if the array holds more than the network's own crop,
            which lies in the middle; empty for that alone.
        fit: ``pad`` shows the whole image in the crop, on a border of the colour ``fill``;
            ``whole`` at its own proportions, in about as many pixels as the crop has (see
            `datasets.images.geometry`); empty does what ``resize`` and ``crop`` say.
        fill: red, green and blue of the border, 0 to 255.
        views: one of `VIEWS`, whose features are averaged; empty for a single view. The array holds
            the crop, the whole image on a border (``pad``) and squashed (``whole``), one above the
            other. The graph mirrors the first for ``flip``.
        own_size: False if the user chose the size.
        own_values: False if the user said what values a named network takes.
    """

    resize: int | tuple[int, int]
    crop: int | tuple[int, int]
    interpolation: str = "bicubic"
    policy: int = 4
    value_range: str = ""
    colour: str = ""
    quality: str = ""
    fit: str = ""
    fill: tuple[int, ...] = ()
    views: str = ""
    own_size: bool = True
    own_values: bool = True

    def __post_init__(self) -> None:
        """Raise a ``ValueError`` for impossible sizes and unknown interpolations."""
        for crop, resize in zip(self.input_size, _pair(self.resize), strict=True):
            if not 1 <= crop <= resize:
                raise ValueError(f"crop {self.crop} must lie between 1 and resize {self.resize}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {self.interpolation!r} is none of {INTERPOLATIONS}")
        if self.value_range != canonical_range(self.value_range):
            raise ValueError(f"{self.value_range!r} is no range of values")
        if self.colour not in ("", "srgb"):
            raise ValueError(f"colour {self.colour!r} is not srgb")
        if self.fit not in ("", "pad", "whole") or self.views not in ("", *VIEWS):
            raise ValueError(f"no fit {self.fit!r}, or no views {self.views!r}")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document, without what is empty."""
        document = dataclasses.asdict(self)
        always = ("resize", "crop", "interpolation", "policy")
        empty = {"own_size": True, "own_values": True}
        return {
            key: value
            for key, value in document.items()
            if key in always or (value != empty[key] if key in empty else value)
        }

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of what the network sees at once; of ``whole``, of a square image."""
        return _pair(self.crop)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the array; of ``whole``, that of a square image."""
        height, width = self.input_size
        return len(self.each_view) * height, width

    @property
    def each_view(self) -> tuple[Preprocess, ...]:
        """What each part of the array shows, from top to bottom."""
        if self.views in ("", "flip"):
            return (self,)
        crop = dataclasses.replace(self, views="", fill=())
        whole = dataclasses.replace(crop, resize=self.input_size)
        pad = dataclasses.replace(whole, fit="pad", fill=self.fill)
        pictures = {"crop": crop, "pad": pad, "whole": whole}
        return tuple(pictures[name] for name in self.views.split("+") if name != "flip")

    @staticmethod
    def from_json(document: dict[str, Any]) -> Preprocess:
        """Restore from JSON; a missing or unknown key is a ``TypeError``."""
        values = dict(document)
        for key in ("resize", "crop", "fill"):
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        return Preprocess(**values)


def canonical_range(text: str) -> str:
    """Return a range of values in its one spelling; a bad one is a ``ValueError``.

    >>> canonical_range("0:4095.0")
    '0:4095'
    """
    if text in ("", "dtype"):
        return text
    low, high = (float(end) for end in text.split(":"))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{low:g} is not below {high:g}")
    return ":".join(str(int(end)) if end.is_integer() else repr(end) for end in (low, high))


def canonical_views(text: str) -> str:
    """Return views in their one spelling; what is none of `VIEWS` is a ``ValueError``.

    >>> canonical_views("squash+flip+crop"), canonical_views("crop+flip")
    ('crop+flip+whole', 'flip')
    """
    names = sorted("whole" if name == "squash" else name for name in text.split("+") if text)
    views = "flip" if names == ["crop", "flip"] else "+".join(names)
    if views not in ("", *VIEWS):
        raise ValueError(
            f"no views {text!r}; use flip, or a sum of crop with flip, whole and pad, such as "
            "crop+flip+whole"
        )
    return views


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
