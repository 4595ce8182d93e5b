"""Several labels on one image: how cells of a table become sets of labels.

The labels are in one column, as a list (JSON, Parquet, or as Python prints it) or as text separated
by ``|`` or ``;``; or each label has a column of its own: 1 where an image has it, 0 where it has
not, and -1 or nothing where that is unknown. An empty list or cell means that an image has none of
them, and ``?`` that nobody looked.
Columns called ``true:LABEL``, as Headstart writes them, are such columns wherever they are.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.core.label_text import TRUE, UNKNOWN
from headstart.core.records import ImageRef, LabelSet
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import columns, text

SEPARATORS = ("|", ";")
LISTS = "labels"  # the name of a column in which several labels are looked for
OWN = "="  # begins the names under which the cells of 0/1 columns come

_OTHERS = (",", "/", "+", " ")  # that people separate labels by, and Headstart does not
_CELLS = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "-1": -1, "-1.0": -1}
_EMPTY = frozenset(("", "nan", "none", "null", "<na>", "n/a", "#n/a"))
_NAMED = 4  # labels in a remark


@dataclass(frozen=True)
class Rule:
    """How the rows of one table become sets of labels.

    Attributes:
        columns: the 0/1 columns, one a label; empty if one column has the labels.
        separator: of the labels in a text; empty for lists.
        field: of the objects in the column, the one with their categories; empty without objects.
        names: what the numbers in lists mean; empty if they are names themselves.
        remark: the rule in a sentence.
    """

    columns: tuple[str, ...] = ()
    separator: str = ""
    field: str = ""
    names: tuple[str, ...] = ()
    remark: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of the 0/1 columns."""
        return tuple(name.strip().removeprefix(TRUE) for name in self.columns)

    def labels(self, cells: Mapping[str, Any], place: str) -> LabelSet | None:
        """Return the labels of a row, by the cells ``label`` or those of the 0/1 columns.

        Raises:
            InputError: a cell is neither.
        """
        if self.columns:
            return _of_flags(zip(self.columns, self.classes, strict=True), cells, place)
        value = cells.get("label")
        if value is None or value != value:  # an absent list, unlike an empty one
            return None
        if isinstance(value, str) and value.strip() == UNKNOWN:
            return None
        if self.field:  # a record of lists, or a list of records
            value = (
                value.get(self.field)
                if isinstance(value, Mapping)
                else [each[self.field] for each in value if each]
            )
            return None if value is None else _named(value, self.names, place)
        return _named(self._parts(value, place), self.names, place)

    def _parts(self, value: Any, place: str) -> Sequence[Any]:  # noqa: ANN401
        parts = _listed(value)
        if parts is not None:
            return parts
        if isinstance(value, bytes):
            value = text.decoded(value, place, "the labels")
        if isinstance(value, str) and self.separator:
            return _divided(value, self.separator)
        return [] if value == "" else [value]


def image(path: str, labels: LabelSet | str | None, split: str, origin: str = "") -> ImageRef:
    """Return an image with one label, several, or none."""
    if isinstance(labels, LabelSet):
        return ImageRef(path, None, split, labels, origin)
    return ImageRef(path, labels, split, None, origin)


def as_sets(images: Sequence[ImageRef]) -> list[ImageRef]:
    """Return images with one label as images with a set: its parts, if a separator divides it."""
    mark = _separator({ref.label for ref in images if ref.label is not None})
    return [
        replace(ref, label=None, labels=LabelSet(tuple(_divided(ref.label, mark))))
        if ref.label is not None
        else ref
        for ref in images
    ]


def of_columns(names: Sequence[str]) -> Rule:
    """Return the rule of 0/1 columns."""
    shown = one_line(", ".join(names[:_NAMED]))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    columns_ = "column" if len(names) == 1 else "columns"
    return Rule(
        columns=tuple(names),
        remark=f"Each image may have several labels: the 0/1 {columns_} {shown}{more}.",
    )


def flag(value: Any) -> int | None:  # noqa: ANN401 - a cell of any table
    """Return the 1, 0 or -1 (unknown) in a cell; None if it is something else.

    >>> [flag(value) for value in ("1", 0.0, True, "", None, "-1", "2", "cat")]
    [1, 0, 1, -1, -1, -1, None, None]
    """
    if value is None or value != value:
        return -1
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    word = str(value).strip().lower()
    return -1 if word in _EMPTY else _CELLS.get(word)


def found_columns(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Return the columns in which every cell is 0, 1, -1 or empty, and some cell is 0 or 1."""
    seen: dict[str, set[int | None]] = {name: set() for name in names}
    for row in rows:
        for name, values in seen.items():
            values.add(flag(row.get(name)))
    return [name for name, values in seen.items() if None not in values and values & {0, 1}]


def of_cells(cells: Iterable[Any], column: str, target: str = "") -> Rule | None:
    """Return the rule for a column of labels; None if its cells are one class each.

    Lists always are sets of labels. A text is one if the user says so (``target``), or if the
    column is called ``labels`` and its parts occur in other combinations too, or nobody looked at
    some images.
    """
    if target == SINGLE_LABEL:
        return None
    distinct = {str(cell): cell for cell in cells if cell is not None and cell == cell}
    values = [cell for name, cell in distinct.items() if cell != "" and name.strip() != UNKNOWN]
    waiting = len(values) + ("" in distinct) < len(distinct)
    shown = one_line(column)
    if values and all(_listed(cell) is not None for cell in values):
        return Rule(remark=f"Each image may have several labels: the lists in {shown}.")
    texts = [cell for cell in values if isinstance(cell, str)]
    separator = _separator(texts)
    named = column.strip().casefold() == LISTS
    if target == MULTI_LABEL or (named and waiting):
        used = separator or next((mark for mark in SEPARATORS if any(mark in t for t in texts)), "")
        by = f", separated by '{used}'" if used else ""
        by += f"; nobody looked at images with {UNKNOWN}" if waiting else ""
        return Rule(
            separator=used, remark=f"Each image may have several labels: those in {shown}{by}."
        )
    if separator and named:
        return Rule(
            separator=separator,
            remark=f"Each image may have several labels: those in {shown}, separated by "
            f"'{separator}'; --target single-label takes each cell as one class.",
        )
    return None


def about_combined(names: Sequence[str], target: str = SINGLE_LABEL) -> list[str]:
    """Return a remark about classes or labels whose names look like several; else nothing."""
    single = target == SINGLE_LABEL
    for mark in (*SEPARATORS, *_OTHERS):
        combined = [name for name in names if mark in name]
        is_ordinary = mark == " " or (single and mark in _OTHERS)  # in a name
        if not combined or not _recombined(names, mark):
            continue
        if is_ordinary and not _of_whole_names(combined, names, mark):
            continue
        word = "a blank" if mark == " " else f"'{mark}'"
        write = "" if single and mark in SEPARATORS else f"write | in place of {word}"
        add = "add --target multi-label" if single else ""
        return [
            f"The {'class' if single else 'label'} '{one_line(combined[0])}' looks like several "
            f"labels: what {word} separates in it is in other names too. If an image may have "
            f"several labels, {' and '.join(filter(None, (write, add)))}."
        ]
    return []


def _of_whole_names(combined: Sequence[str], names: Sequence[str], mark: str) -> bool:
    """Tell whether all combined names consist of other names."""
    every = set(names)
    return all({part.strip() for part in name.split(mark)} - {""} <= every for name in combined)


def _separator(texts: Collection[str]) -> str:
    """Return the separator that divides texts into parts which recur; empty if none does."""
    return next((mark for mark in SEPARATORS if _recombined(texts, mark)), "")


def _divided(value: str, separator: str) -> list[str]:
    parts = value.split(separator) if separator else [value]
    return list(dict.fromkeys(part for part in map(str.strip, parts) if part))


def _recombined(texts: Iterable[str], separator: str) -> bool:
    """Tell whether a part of a text that a separator divides is in another text as well."""
    parts: Counter[str] = Counter()
    divided: set[str] = set()
    for value in texts:
        pieces = {piece.strip() for piece in value.split(separator)} - {""}
        parts.update(pieces)
        if separator in value:
            divided |= pieces
    return any(parts[piece] > 1 for piece in divided)


def _listed(value: Any) -> Sequence[Any] | None:  # noqa: ANN401
    """Return the items of a list, or of a text that is one; None for anything else."""
    if isinstance(value, list | tuple):
        return value
    if not isinstance(value, str) or not (value[:1] == "[" and value[-1:] == "]"):
        return None
    for parse in (json.loads, ast.literal_eval):  # the second reads what pandas writes
        try:
            items = parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return items if isinstance(items, list) else None
    return None


def _named(parts: Sequence[Any], names: Sequence[str], place: str) -> LabelSet:
    labels = [columns.label(part, names, place) for part in parts]
    return LabelSet(tuple(dict.fromkeys(label for label in labels if label is not None)))


def _of_flags(names: Iterable[tuple[str, str]], cells: Mapping[str, Any], place: str) -> LabelSet:
    present: list[str] = []
    unknown: list[str] = []
    for name, label in names:
        value = cells.get(OWN + name)
        state = flag(value)
        if state is None:
            raise InputError(
                f"{place}: the column {one_line(name)} has '{one_line(value)}'; a column of one "
                "label has 1, 0, or -1 or nothing where it is unknown"
            )
        if state:
            (present if state > 0 else unknown).append(text.class_name(label))
    return LabelSet(tuple(present), tuple(unknown))
