"""The common names of columns in tables of images, and the values of their cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.datasets.listing import SPLIT_NAMES

IMAGES = ("image", "img", "images", "picture", "photo", "image_bytes", "bytes", "jpg", "png")
PATHS = ("file_name", "path", "filename", "file", "filepath", "file_path", "image_path")
LABELS = ("label", "labels", "class", "class_name", "category", "target", "cls", "label_name", "y")
SPLIT = "split"


def find(names: Iterable[str], spellings: Sequence[str]) -> str | None:
    """Return the first column whose name is one of the spellings, in any case.

    >>> find(["ID", "Category", "label"], LABELS), find(["ID"], LABELS)
    ('label', None)
    """
    spelled = {name.lower(): name for name in reversed(list(names))}
    return next((spelled[name] for name in spellings if name in spelled), None)


def hugging_face_names(features: Any, column: str) -> list[str]:  # noqa: ANN401 - a stranger's JSON
    """Return the class names of a label column, from the ``features`` of a Hugging Face set."""
    feature = features.get(column) if isinstance(features, Mapping) else None
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):  # older versions: {"0": name}
        names = list(names.values())
    return [str(name) for name in names] if isinstance(names, list) else []


def features_of(description: bytes | None) -> Any:  # noqa: ANN401 - a stranger's JSON
    """Return ``features`` from the Hugging Face JSON in the metadata of a Parquet or Arrow file."""
    try:
        return json.loads(description or b"{}")["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def label(value: Any, names: Sequence[str], place: str) -> str | None:  # noqa: ANN401
    """Return the class name in a cell; None for an empty cell.

    A number is an index into ``names``, or itself the name if there are none.

    Raises:
        InputError: the cell is neither text nor a whole number, or a number without a name.
    """
    if value is None or value == "":
        return None
    if isinstance(value, float) and value != value:  # a missing number, as pandas writes it
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{place}: the label {one_line(value)} is neither text nor a whole number")
    if isinstance(value, str) or not names:
        return str(value).strip() or None
    if value == -1:
        return None  # how sets mark unlabelled test images
    if not 0 <= value < len(names):
        raise InputError(f"{place}: the label {value} has no name; there are {len(names):,} names")
    return names[value]


def split(value: Any, default: str, place: str) -> str:  # noqa: ANN401
    """Return the split in a cell, or the default for an empty cell."""
    text = str(value or "").strip()
    if text and text.lower() not in SPLIT_NAMES:
        raise InputError(
            f"{place}: {one_line(text)} is not a split; write train, validation, test or nothing"
        )
    return SPLIT_NAMES[text.lower()] if text else default
