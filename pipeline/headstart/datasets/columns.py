"""What the columns of a table of images mean, by the names that people give them."""

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


def find(names: Iterable[str], wanted: Sequence[str]) -> str | None:
    """Return the first column that is called one of the wanted names, in any case.

    >>> find(["ID", "Category", "label"], LABELS), find(["ID"], LABELS)
    ('label', None)
    """
    spelled = {name.lower(): name for name in reversed(list(names))}
    return next((spelled[name] for name in wanted if name in spelled), None)


def hugging_face_names(features: Any, column: str) -> list[str]:  # noqa: ANN401 - a stranger's JSON
    """Return the names of a column's classes as the Hugging Face format keeps them, if it does.

    Args:
        features: the part ``features`` of the description.
        column: the column of labels.
    """
    feature = features.get(column) if isinstance(features, Mapping) else None
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):  # older versions: {"0": name}
        names = list(names.values())
    return [str(name) for name in names] if isinstance(names, list) else []


def features_of(description: bytes | None) -> Any:  # noqa: ANN401 - a stranger's JSON
    """Return the part ``features`` of the JSON that a Parquet or Arrow file carries."""
    try:
        return json.loads(description or b"{}")["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def label(value: Any, names: Sequence[str], where: str) -> str | None:  # noqa: ANN401
    """Return the class that a cell says; None for none.

    Args:
        value: text or a whole number.
        names: of the classes that numbers stand for; empty if numbers are the names.
        where: what a message says of the place.

    Raises:
        InputError: it says neither.
    """
    if value is None or value == "":
        return None
    if isinstance(value, float) and value != value:  # pandas writes a missing number so
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{where}: the label {one_line(value)} is neither text nor a whole number")
    if isinstance(value, str) or not names:
        return str(value).strip() or None
    if value == -1:
        return None  # how sets without labels for the test split are written
    if not 0 <= value < len(names):
        raise InputError(f"{where}: the label {value} has no name; there are {len(names):,}")
    return names[value]


def split(value: Any, default: str, where: str) -> str:  # noqa: ANN401
    """Return the split that a cell says, or the default for an empty one.

    Raises:
        InputError: it is none.
    """
    text = str(value or "").strip()
    if text and text.lower() not in SPLIT_NAMES:
        raise InputError(
            f"{where}: {one_line(text)} is no split; write train, validation, test or nothing"
        )
    return SPLIT_NAMES[text.lower()] if text else default
