"""Columns of lists of labels, and of the objects in an image, as tables for detection have them.

A cell of objects is a record of lists, or a list of records; one of the fields has the categories.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headstart.core.errors import one_line
from headstart.datasets import columns
from headstart.datasets.label_sets import Rule


def column(types: Any, fields: Iterable[Any]) -> str | None:  # noqa: ANN401 - of pyarrow
    """Return the first of the columns that has objects and a usual name."""
    names = [each.name for each in fields if category_field(types, each.type)]
    return columns.find(names, columns.OBJECTS)


def rule(types: Any, field: Any, features: Any) -> Rule | None:  # noqa: ANN401 - of pyarrow
    """Return how a column of lists or objects becomes labels; None if it is neither.

    ``features`` are those of a Hugging Face set.
    """
    own = category_field(types, field.type)
    if own is None and is_list(types, field.type):
        remark = f"Each image may have several labels: the lists in {one_line(field.name)}."
        own_names = columns.hugging_face_names(features, field.name)
        return Rule(names=tuple(own_names), remark=remark)
    if own is None:
        return None
    names = tuple(columns.hugging_face_names(features, field.name, own))
    shown = one_line(f"{field.name}.{own}")
    remark = f"Each image has the categories of its objects as labels: {shown}."
    return Rule(field=own, names=names, remark=remark)


def category_field(types: Any, kind: Any) -> str | None:  # noqa: ANN401 - of pyarrow
    """Return the field with the categories in a column of this type; None without objects."""
    if is_list(types, kind):
        kind = kind.value_type
        names = [each.name for each in kind] if types.is_struct(kind) else []
    elif types.is_struct(kind):
        names = [each.name for each in kind if is_list(types, each.type)]
    else:
        return None
    return columns.find(names, columns.CATEGORIES)


def is_list(types: Any, kind: Any) -> bool:  # noqa: ANN401 - of pyarrow
    """Tell whether a type is that of lists."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
