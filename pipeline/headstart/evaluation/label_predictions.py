"""Predictions of several labels in a file, as ``headstart predict`` and ``train-heads`` write them.

A row has the labels of an image in the column ``labels`` or ``predicted`` and a probability of each
label, ``p:LABEL``. The true labels are in columns ``true:LABEL``, 1, 0 or empty if unknown, or in
one column, separated by ``|``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core import label_text
from headstart.core.errors import InputError, one_line
from headstart.core.records import LabelSet
from headstart.evaluation.answers import LabelAnswers

_OWN, _TRUE, _P = label_text.TRUE, "true", "p:"
_STATES = {"1": 1, "0": 0, "": -1, "-1": -1}


@dataclass(frozen=True)
class LabelTable:
    """The labels of images: ``labels`` are ``(n, k) int8``, 1, 0, or -1 where that is unknown."""

    names: tuple[str, ...]
    labels: NDArray[np.int8]

    @classmethod
    def of(cls, names: Sequence[str], sets: Iterable[LabelSet | None]) -> LabelTable:
        """Return the labels of images; of an image without a set, all are unknown."""
        code = {name: place for place, name in enumerate(names)}
        rows = []
        for each in sets:
            row = np.zeros(len(code), np.int8) if each else np.full(len(code), -1, np.int8)
            if each:
                row[[code[name] for name in each.present if name in code]] = 1
                row[[code[name] for name in each.unknown if name in code]] = -1
            rows.append(row)
        return cls(tuple(names), np.array(rows, np.int8).reshape(len(rows), len(code)))

    def of_labels(self, names: Sequence[str]) -> NDArray[np.int8]:
        """Return the columns of some labels, in this order."""
        return self.labels[:, [self.names.index(name) for name in names]]


def matches(columns: Collection[str]) -> bool:
    """Tell whether a table with these columns has several labels an image."""
    several = "labels" in columns and "label" not in columns
    return several or any(str(name).startswith(_OWN) for name in columns)


def read(
    path: Path, rows: Sequence[Mapping[str, Any]], label_column: str = ""
) -> tuple[LabelAnswers, LabelTable | None]:
    """Return the answers in the rows of a table, and the true labels, None without columns of them.

    Raises:
        InputError: a row contradicts itself, or lacks the probability of a label.
    """
    shown = one_line(path)
    names = tuple(dict.fromkeys(k[2:] for row in rows for k in row if k and k[:2] == _P))
    if not names or any("path" not in row for row in rows):
        raise InputError(
            f"{shown} has no probability of each label; give a file that headstart predict --out"
            " wrote, without --top-k, or a model"
        )
    column = "labels" if "labels" in rows[0] else "predicted"
    predicted = np.zeros((len(rows), len(names)), bool)
    probabilities = np.full((len(rows), len(names)), np.nan)
    for number, row in enumerate(rows):
        if row.get("error"):
            continue
        place = f"{shown}: {one_line(row['path'])}"
        predicted[number] = _present(row.get(column), names, place)
        probabilities[number] = probabilities_of(row, names, place, "label")
    answers = LabelAnswers(str(path), names, predicted, probabilities)
    return answers, _true(rows, names, shown, label_column)


def probabilities_of(
    row: Mapping[str, Any], names: Sequence[str], place: str, noun: str
) -> NDArray[np.float64]:
    """Return the probabilities, ``(k,)``, in the columns ``p:NAME`` of a row.

    Raises:
        InputError: one is missing, or no number from 0 to 1.
    """
    try:
        scores = np.array([float(row[_P + name]) for name in names])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{place} has no probability of every {noun}") from None
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.any():
        value = scores[outside.argmax()]
        raise InputError(
            f"{place} has {value:g} as a probability; write numbers from 0 to 1, or leave the"
            " columns p:… out"
            if np.isfinite(value)
            else f"{place} has a probability that is no number"
        )
    return scores


def _true(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], shown: str, label_column: str
) -> LabelTable | None:
    own = [str(name)[len(_OWN) :] for name in rows[0] if str(name).startswith(_OWN)]
    if own and not label_column:
        states = [[_state(row, name, shown) for name in own] for row in rows]
        return LabelTable(tuple(own), np.array(states, np.int8))
    column = label_column or _TRUE
    if column not in rows[0]:
        if label_column:
            raise InputError(f"{shown} has no column {one_line(column)} with the true labels")
        return None
    sets = [LabelSet(tuple(_parts(row.get(column), names, shown))) for row in rows]
    return LabelTable.of(list(dict.fromkeys(n for each in sets for n in each.present)), sets)


def _state(row: Mapping[str, Any], name: str, shown: str) -> int:
    cell = str("" if row.get(_OWN + name) is None else row[_OWN + name]).strip()
    if cell not in _STATES:
        raise InputError(
            f"{shown}: {one_line(row['path'])} has {one_line(cell)} for the label {one_line(name)};"
            " write 1, 0, or nothing where it is unknown"
        )
    return _STATES[cell]


def _present(value: Any, names: Sequence[str], place: str) -> NDArray[np.bool_]:  # noqa: ANN401
    """Return which labels a cell or a list names, ``(k,)``."""
    parts = set(_parts(value, names, place))
    if not parts <= set(names):
        raise InputError(
            f"{place} has the labels {one_line(value)}, and not every one of them has a column"
            " p:LABEL; keep the file as headstart predict wrote it"
        )
    return np.array([name in parts for name in names])


def _parts(value: Any, names: Sequence[str], place: str) -> list[str]:  # noqa: ANN401
    """Return the labels in a list, or in a text that joins them in the order of ``names``."""
    if isinstance(value, list):
        return [str(name) for name in value]
    text = str(value or "")
    try:
        return label_text.split(text, names)
    except ValueError:
        raise InputError(
            f"{place} has the labels {one_line(text)}, which cannot be told apart, since names of"
            f" labels have {label_text.SEPARATOR} in them; give predictions in .jsonl"
        ) from None
