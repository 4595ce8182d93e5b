"""How images are prepared for a foreign network: a preset, or a user's JSON file.

An ONNX file does not say how to prepare images for it, so the user does. The keys of the JSON file
are all optional:

- ``size``: the network's height and width, one number or two; by default the file's, or 224.
- ``resize``: the shorter side before the central crop, or height and width; by default images are
  stretched to ``size``.
- ``crop``: another name for ``size``.
- ``interpolation``: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
- ``scale``, ``mean``, ``std``: the network gets (pixel × scale - mean) / std, with pixels of 0 to
  255; mean and std are one number or three, in the network's channel order.
- ``order``: ``RGB`` or ``BGR``; ``layout``: ``NCHW`` or ``NHWC``, if the file leaves it open.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import AUTO
from headstart.core.errors import BackboneError, near_matches, one_line
from headstart.core.preprocess import INTERPOLATIONS
from headstart.core.records import Backbone, Preprocess

Three = tuple[float, float, float]
Pair = tuple[int, int]
Open = tuple[int | None, int | None]  # height and width; None where any is taken

SIZE = 224  # of a network that takes any
ORDERS = ("RGB", "BGR")
LAYOUTS = ("NCHW", "NHWC")
LINE = (64, 320)  # up to what height a network of free width reads lines of text, and how wide
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode L
MAX_SIDE = 4096
_MAX_BYTES = 65536  # of a recipe's file


@dataclass(frozen=True)
class Recipe:
    """From an image file to what a network takes; see the keys of the JSON file above.

    Attributes:
        layout: empty takes what the file says.
        size: None takes the file's, or ``default``.
        resize: as in `headstart.core.records.Preprocess`; None derives it from ``crop``.
        crop: share of the shorter side that the central crop keeps; 1 without ``keep`` stretches.
        keep: whether the resize keeps proportions.
        default: side in pixels for a network that takes any size.
    """

    scale: float = 1.0
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    order: str = "RGB"
    layout: str = ""
    interpolation: str = "bilinear"
    size: Pair | None = None
    resize: int | Pair | None = None
    crop: float = 1.0
    keep: bool = False
    default: int = SIZE

    def preprocess(self, size: Open = (None, None)) -> Preprocess:
        """Return what happens before the graph.

        ``size`` is the height and width that the file demands, None for a side that is free.

        Raises:
            BackboneError: the file demands another size than the recipe.
        """
        if self.size and any(b and a != b for a, b in zip(self.size, size, strict=True)):
            shown = " × ".join(str(side or "any") for side in size)
            raise BackboneError(
                f"--preprocess gives images of {self.size[0]} × {self.size[1]}, and the network "
                f"takes {shown} alone; leave the size out"
            )
        height, width = self.size or self.sides(size)
        resize = self.resize
        if resize is None and self.keep:
            resize = math.floor(max(height, width) / self.crop + 0.5)
        elif resize is None:
            resize = (_enlarged(height, self.crop), _enlarged(width, self.crop))
        crop = height if height == width else (height, width)
        try:
            return Preprocess(resize, crop, self.interpolation)
        except ValueError as error:
            raise BackboneError(f"--preprocess: {error}") from error

    def sides(self, size: Open) -> Pair:
        """Return the height and width for a network that demands ``size``, unless the user does.

        Of one free side a square is assumed, or a line of text.
        """
        height, width = size
        if height and not width and height <= LINE[0]:
            return height, LINE[1]
        return height or width or self.default, width or height or self.default

    def apply(
        self,
        images: NDArray[np.uint8],
        layout: str,
        dtype: Any,  # noqa: ANN401
        channels: int = 3,
    ) -> NDArray[Any]:
        """Prepare ``(n, h, w, 3) uint8`` RGB crops in plain numpy code.

        The result is ``(n, c, h, w)`` or ``(n, h, w, c)``, in the network's channel order.
        """
        pixels: NDArray[Any] = images[..., ::-1] if self.order == "BGR" else images
        if not self.is_raw:
            scaled = pixels.astype(np.float32) * np.float32(self.scale)
            pixels = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        if channels == 1:
            luma = np.asarray(self.luma, np.float32)
            pixels = (pixels.astype(np.float32) * luma).sum(axis=3, keepdims=True, dtype=np.float32)
            if np.dtype(dtype).kind in "iu":
                pixels = np.rint(pixels)
        if layout == "NCHW":
            pixels = pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels.astype(dtype))

    @property
    def luma(self) -> Three:
        """The weights of the channels in a grey image, in the network's order."""
        return LUMA[::-1] if self.order == "BGR" else LUMA

    @property
    def is_raw(self) -> bool:
        """Whether pixels stay unchanged."""
        return not any(self.mean) and all(self.scale / each == 1 for each in self.std)

    @property
    def constants(self) -> dict[str, NDArray[np.float32]]:
        """What is subtracted from pixels of 0…255, what divides them, and `luma`, ``(3,)`` each."""
        values = {
            "Sub": np.asarray(self.mean) / self.scale,
            "Div": np.asarray(self.std) / self.scale,
            "luma": np.asarray(self.luma),
        }
        return {kind: value.astype(np.float32) for kind, value in values.items()}

    def red_first(self, values: Three) -> Three:
        """Return ``mean`` or ``std`` on the 0…1 scale, red first."""
        first, second, third = (value / (self.scale * 255) for value in values)
        return (third, second, first) if self.order == "BGR" else (first, second, third)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `from_json` reads."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(document: dict[str, Any]) -> Recipe:
        """Rebuild a recipe from `to_json`."""
        lists = {key: tuple(value) for key, value in document.items() if isinstance(value, list)}
        return Recipe(**document | lists)


_IMAGENET = Recipe(
    1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.875, keep=True
)  # torchvision's and the ONNX model zoo's
_CAFFE = Recipe(1.0, (103.939, 116.779, 123.68), order="BGR", crop=0.875)  # stretched, as in Caffe
_INCEPTION = Recipe(1 / 127.5, (1.0, 1.0, 1.0), crop=0.875, keep=True)  # -1…1, as TF-Slim
_UNIT = Recipe(1 / 255)  # 0…1

PRESETS = {
    "imagenet": _IMAGENET,
    "caffe": _CAFFE,
    "inception": _INCEPTION,
    "unit": _UNIT,
    "raw": Recipe(),  # 0…255: the network normalises by itself
    "darknet": dataclasses.replace(_UNIT, default=416),
    "openface": dataclasses.replace(_UNIT, default=96),
    "tfhub": dataclasses.replace(_UNIT, layout="NHWC"),
}


def read(spec: str) -> Recipe:
    """Return the recipe that a user means by ``--preprocess``.

    ``spec`` is ``PRESET``, ``PRESET:SIZE``, ``PRESET:HEIGHTxWIDTH``, ``PRESET:BGR``,
    ``PRESET:SIZE:RGB``, the path of a JSON file, or JSON text in braces.
    """
    if spec.lstrip().startswith("{"):
        return _parsed(spec, "--preprocess")
    if spec == AUTO:
        raise BackboneError(
            f"--preprocess {AUTO} tries presets on labelled images, which this command does not "
            f"take; which is best says: headstart backbones --for DATA --only-named --backbone "
            f"onnx:PATH --preprocess {AUTO}; name that here"
        )
    name, *rest = spec.split(":")
    if name in PRESETS:
        recipe = PRESETS[name]
        for word in rest:
            recipe = _varied(recipe, word, spec)
        return recipe
    try:
        with Path(spec).open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or one_line(error)
        raise BackboneError(
            f"--preprocess {one_line(spec)} is not a preset and not a file ({cause}); "
            f"{near_matches(name, PRESETS)}presets: {', '.join(PRESETS)}"
        ) from None
    if len(text) > _MAX_BYTES:
        raise BackboneError(f"{one_line(spec)} is too large to be a recipe of --preprocess")
    return _parsed(text.decode("utf-8", "replace"), one_line(spec))


def shown(backbone: Backbone) -> str:
    """Return how images are prepared for a backbone, in words."""
    if backbone.networks:
        return "; ".join(f"{one_line(each.name)}: {shown(each)}" for each in backbone.networks)
    preprocess = backbone.preprocess
    scales = list(zip(backbone.mean, backbone.std, strict=True))
    lows, highs = ([round((end - mean) / std, 3) for mean, std in scales] for end in (0, 1))
    if len({*lows}) == len({*highs}) == 1:
        values = f"{lows[0] + 0.0:g}…{highs[0]:g}"
    else:
        mean, std = (
            ", ".join(f"{value:.3g}" for value in each) for each in (backbone.mean, backbone.std)
        )
        values = f"0…1 less {mean}, divided by {std}"
    height, width = preprocess.input_size
    if preprocess.fit:
        fit = preprocess.fit
    elif isinstance(preprocess.resize, int):
        fit = f"crop out of {preprocess.resize}"
    else:
        stretched = preprocess.resize != preprocess.input_size
        fit = "squash, crop out of {} × {}".format(*preprocess.resize) if stretched else "squash"
    return f"{backbone.order} {values}, {height} × {width}, {fit}"


def of(backbone: Backbone) -> str:
    """Return the recipe that a backbone was made with, as JSON text."""
    turned = -1 if backbone.order == "BGR" else 1
    preprocess = backbone.preprocess
    return json.dumps(
        {
            "size": preprocess.input_size,
            "resize": preprocess.resize,
            "interpolation": preprocess.interpolation,
            "scale": 1 / 255,
            "mean": backbone.mean[::turned],
            "std": backbone.std[::turned],
            "order": backbone.order,
        }
    )


def _varied(recipe: Recipe, word: str, spec: str) -> Recipe:
    if word.upper() in ORDERS:
        turned = recipe.order != word.upper()
        mean, std = (recipe.mean[::-1], recipe.std[::-1]) if turned else (recipe.mean, recipe.std)
        return dataclasses.replace(recipe, order=word.upper(), mean=mean, std=std)
    sides = word.lower().split("x")
    if len(sides) <= 2 and all(
        side.isascii() and side.isdecimal() and 1 <= int(side[:5]) <= MAX_SIDE for side in sides
    ):
        return dataclasses.replace(recipe, size=(int(sides[0]), int(sides[-1])))
    raise BackboneError(
        f"--preprocess {one_line(spec)}: {one_line(word)!r} is neither a size of 1 to {MAX_SIDE}, "
        "such as 224 or 48x320 (height x width), nor RGB nor BGR"
    )


def _parsed(text: str, where: str) -> Recipe:
    import fastjsonschema

    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BackboneError(f"{where} is not valid JSON: {one_line(error)[:120]}") from None
    if not isinstance(document, dict):
        raise BackboneError(f'{where} must hold one object, such as {{"size": 224}}')
    unknown = [key for key in document if key not in _SCHEMAS]
    if unknown:
        hint = near_matches(unknown[0], _SCHEMAS)
        raise BackboneError(
            f"{where}: no key {one_line(unknown[0])!r}; {hint}keys: {', '.join(_SCHEMAS)}"
        )
    for key, value in document.items():
        try:
            fastjsonschema.validate(_SCHEMAS[key], value)
        except fastjsonschema.JsonSchemaValueException:
            must = _SCHEMAS[key]["description"]
            raise BackboneError(f"{where}: {key} must be {must}") from None
    values = {key: _typed(key, value) for key, value in document.items()}
    crop = values.pop("crop", None)
    if crop and values.setdefault("size", crop) != crop:
        raise BackboneError(f"{where}: size and crop are the same thing; leave one of them out")
    return Recipe(**values)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


_SIDE = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE}
_SIZE = {
    "description": f"a whole number of 1 to {MAX_SIDE}, or [height, width]",
    "anyOf": [_SIDE, {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}],
}
_NUMBER = {"type": "number", "minimum": -1e30, "maximum": 1e30}
_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e30}


def _three(number: dict[str, Any], description: str) -> dict[str, Any]:
    array = {"type": "array", "items": number, "minItems": 3, "maxItems": 3}
    return {"description": description, "anyOf": [number, array]}


def _word(words: tuple[str, ...]) -> dict[str, Any]:
    return {"description": f"one of {', '.join(words)}", "enum": list(words)}


_SCHEMAS: dict[str, dict[str, Any]] = {
    "size": _SIZE,
    "resize": _SIZE,
    "crop": _SIZE,
    "interpolation": _word(INTERPOLATIONS),
    "scale": _ABOVE_0 | {"description": "a number above 0"},
    "mean": _three(_NUMBER, "one number or three"),
    "std": _three(_ABOVE_0, "one number or three, above 0"),
    "order": _word(ORDERS),
    "layout": _word(LAYOUTS),
}


def _typed(key: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a valid value in the type that `Recipe` has."""
    if key in ("mean", "std"):
        return tuple(map(float, value if isinstance(value, list) else [value] * 3))
    if key in ("size", "crop") or isinstance(value, list):
        return tuple(map(int, value if isinstance(value, list) else [value] * 2))
    kinds: dict[str, Callable[[Any], Any]] = {"resize": int, "scale": float}
    return kinds.get(key, str)(value)


def _enlarged(side: int, share: float) -> int:
    """Return what a side is resized to; Caffe crops both 227 and 224 out of 256."""
    return 256 if side == 227 and share < 1 else math.floor(side / share + 0.5)
