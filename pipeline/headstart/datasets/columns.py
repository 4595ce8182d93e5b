"""The common names of columns in tables of images, and the values of their cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.core.records import SUGGESTED
from headstart.datasets import splits, text

IMAGES = ("image", "img", "images", "picture", "photo", "image_bytes", "bytes", "jpg", "png")
PATHS = (
    *("file_name", "path", "filename", "file", "filepath", "file_path", "image_path"),
    *("image_name", "image_file", "img_path", "img_name", "img_file"),
)
LABELS = ("label", "labels", "class", "class_name", "category", "target", "cls", "label_name", "y")
OBJECTS = ("objects", "annotations", "detections")
CATEGORIES = ("category", "categories", "label", "labels", "category_id", "class", "name", "names")
"""The columns of the objects in an image, and their fields, as in sets for detection."""
SPLIT = "split"
ORIGIN = "origin"
FILES = ("path", *PATHS, "image", "img")
"""The columns of a table in a text file, which cannot hold images themselves."""
NAMES = (
    *(*FILES, "name", "names", "paths", "files", "filenames", "file_names", "image_names"),
    *("image_paths", "slide_id", "slide", "image_id", "sample_id", "sample", "id", "ids", "key"),
)
"""The columns of a table of features or labels with the images' names."""


def find(names: Iterable[str], spellings: Sequence[str]) -> str | None:
    """Return the first column whose name is one of the spellings, in any case.

    >>> find(["ID", "Category", "label"], LABELS), find(["ID"], LABELS)
    ('label', None)
    """
    spelled = {name.lower(): name for name in reversed(list(names))}
    return next((spelled[name] for name in spellings if name in spelled), None)


def hugging_face_names(
    features: Any,  # noqa: ANN401 - a stranger's JSON
    column: str,
    field: str = "",
) -> list[str]:
    """Return the class names of a label column, from the ``features`` of a Hugging Face set.

    They may be those of a ``field`` of the column's records.
    """
    feature = _item(features.get(column) if isinstance(features, Mapping) else None)
    if field:
        feature = _item(feature.get(field) if isinstance(feature, Mapping) else None)
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):  # older versions: {"0": name}
        names = list(names.values())
    if not isinstance(names, list):
        return []
    return [text.checked(str(name), column, "the class") for name in names]


def _item(feature: Any) -> Any:  # noqa: ANN401
    """Return the feature of the items in a list; a feature that is no list stays."""
    if isinstance(feature, list):  # as older versions write it
        return feature[0] if feature else None
    if isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
        return feature["feature"]
    return feature


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
    if value is None or value != value:  # a missing number is one that does not equal itself
        return None
    if isinstance(value, bytes):
        value = text.decoded(value, place, "the label")
    elif isinstance(value, bool):
        value = str(value).lower()  # as JSON writes it
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise InputError(f"{place}: the label {one_line(value)} is neither text nor a whole number")
    if isinstance(value, str):
        return text.class_name(text.checked(value, place, "the label").strip()) or None
    if not names:
        return str(value)
    if value == -1:
        return None  # how sets mark unlabelled test images
    if not 0 <= value < len(names):
        raise InputError(f"{place}: the label {value} has no name; there are {len(names):,} names")
    return names[value]


def without_marks(labels: Sequence[str | None]) -> list[str | None]:
    """Return the labels of a column of numbers without -1, where it marks unlabelled images.

    It does beside two or more classes; -1 and 1 alone are classes.

    >>> without_marks(["0", "1", "-1"]), without_marks(["-1", "1"])
    (['0', '1', None], ['-1', '1'])
    """
    if len(set(labels) - {None, "-1"}) < 2:
        return list(labels)
    return [None if label == "-1" else label for label in labels]


def origin(value: Any) -> str:  # noqa: ANN401
    """Return `SUGGESTED` if a cell says so; other origins are of no concern here.

    >>> origin(" Suggested "), origin("Peru")
    ('suggested', '')
    """
    return SUGGESTED if str(value or "").strip().lower() == SUGGESTED else ""


def split(value: Any, default: str, place: str) -> str:  # noqa: ANN401
    """Return the split that a cell means, or the default for an empty cell."""
    if isinstance(value, bytes):
        value = text.decoded(value, place, "the split")
    cell = str(value or "").strip()
    meaning = splits.split_of(cell)
    if cell and not meaning:
        raise InputError(
            f"{place}: {one_line(cell)} is not a split; write train, validation, test or nothing"
        )
    return meaning or default
