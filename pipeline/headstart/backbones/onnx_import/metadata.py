"""What a foreign file says of itself beside its graph: licence, size of images, class names."""

from __future__ import annotations

import ast
import json
from typing import Any

import numpy as np

from headstart.backbones.onnx_import.recipe import MAX_SIDE, PRESETS, Pair
from headstart.core.errors import one_line
from headstart.core.onnx_format import ModelProto

_CLASSES = ("names", "classes", "class_names", "labels", "id2label", "character")
_SIZES = ("imgsz", "image_size", "input_size", "img_size", "size")
_LINE = (48, 320)  # of PaddleOCR's readers since version 3
RANGE = ("pixel_mean", "pixel_std")  # of pixels of 0 to 255; `conversion` writes them
_RANGES = ("unit", "inception", "raw", "imagenet")  # presets that may be meant, RGB
_LICENCES = ("license", "licence")
_WORDS = 200  # characters of a value
_MAX_CHARACTERS = 1 << 20  # of a value that is parsed


def values(model: ModelProto) -> dict[str, str]:
    """Return the metadata of a file, with keys in lower case."""
    return {entry.key.lower(): entry.value for entry in model.metadata_props}


def words(model: ModelProto) -> list[str]:
    """Return the keys and the beginnings of the values that may tell what a file is."""
    props = values(model)
    silent = (*_CLASSES, *_LICENCES)
    return [*props, *(text[:_WORDS] for key, text in props.items() if key not in silent)]


def licence(model: ModelProto) -> str:
    """Return the licence that a file names, in one line; empty if it names none."""
    props = values(model)
    return next((one_line(props[key])[:80] for key in _LICENCES if props.get(key)), "")


def class_names(model: ModelProto) -> list[str]:
    """Return the class names in a file; empty if it has none."""
    props = values(model)
    for key in _CLASSES:
        text = props.get(key, "")
        parsed = _parsed(text)
        if isinstance(parsed, dict):
            parsed = list(parsed.values())
        if not isinstance(parsed, list):
            parsed = text.splitlines() if "\n" in text else text.split(",")
        names = [str(name) for name in parsed]
        if len(names) > 1:
            return names
    return []


def preparation(model: ModelProto) -> str:
    """Return the preset that a file names by mean and deviation, or the recipe as JSON text."""
    props = values(model)
    parts = [_parsed(props.get(key, "")) for key in RANGE]
    if not all(
        isinstance(part, list)
        and len(part) in (1, 3)
        and all(isinstance(value, int | float) and abs(value) < 1e9 for value in part)
        for part in parts
    ):
        return ""
    mean, std = parts
    if min(std) <= 0:
        return ""
    for name in _RANGES:
        own = PRESETS[name].constants
        if np.allclose(own["Sub"], mean, atol=0.01) and np.allclose(own["Div"], std, atol=0.01):
            return name
    mean, std = (part if len(part) == 3 else part[0] for part in (mean, std))
    return json.dumps({"mean": mean, "std": std})


def size(model: ModelProto) -> tuple[Pair | None, str]:
    """Return the height and width of images that a file names, or None, and where from."""
    props = values(model)
    for key in _SIZES:
        parsed = _parsed(props.get(key, ""))
        sides = [parsed, parsed] if isinstance(parsed, int) else parsed
        if isinstance(sides, list | tuple) and len(sides) >= 2:
            pair = sides[-2:] if sides[0] in (1, 3) else sides[:2]
            if all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in pair):
                return (int(pair[0]), int(pair[1])), f"as {key} in the file's metadata says"
    if _reads_text(props.get("character", "")):
        return _LINE, "assumed for lines of text, since the file has a table of characters"
    return None, ""


def _reads_text(characters: str) -> bool:
    """Whether a table is one of characters, as of PaddleOCR's readers, and not of other classes."""
    table = characters.splitlines()
    return len(table) > 1 and sum(len(entry) == 1 for entry in table) > len(table) / 2


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON or a literal of Python
    if len(text) > _MAX_CHARACTERS:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return None
