"""What errors cost: a table of true and predicted classes, and the answers that cost least."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, count, one_line

_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Costs:
    """``matrix``, ``(k, k)``: the cost of each predicted class (column) for each true one (row)."""

    matrix: NDArray[np.float64]

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return the class of least expected cost for each image, of ``(n, k)`` probabilities.

        Equal costs leave the most probable class. Source: Elkan, *The Foundations of Cost-Sensitive
        Learning*, 2001.
        """
        expected = probabilities.astype(np.float64) @ self.matrix
        tied = expected <= expected.min(axis=1, keepdims=True) + 1e-12 * np.abs(self.matrix).max()
        codes: NDArray[np.intp] = np.where(tied, probabilities, -1).argmax(axis=1)
        return codes


def read(path: Path, classes: Sequence[str]) -> Costs:
    """Read a CSV table: a row for each true class, its name first, and a column for each answer.

    Commas, semicolons or tabs separate the columns, as spreadsheets write them. A negative cost is
    a gain.

    Raises:
        InputError: the table cannot be read, lacks a class or a cost, or has one too many.
    """
    shown = one_line(path)
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        header, *rows = _cells(text, classes)
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {shown}: {one_line(error)}") from error
    answers, true = header[1:], [row[0] for row in rows]
    _check_names(shown, answers, true, classes)
    matrix = np.zeros((len(classes), len(classes)))
    for row in rows:
        if len(row) > len(header):
            raise InputError(
                f"{shown}: the row of {one_line(row[0])} has {len(row) - 1} costs, for"
                f" {count(len(answers), 'class')}; give one for each column"
            )
        cells = [*row[1:], *[""] * len(answers)][: len(answers)]
        for answer, cell in zip(answers, cells, strict=True):
            place = f"{shown}: the cost of answering {one_line(answer)} for {one_line(row[0])}"
            matrix[classes.index(row[0]), classes.index(answer)] = _number(cell, place)
    return Costs(matrix)


def _check_names(
    shown: str, answers: Sequence[str], true: Sequence[str], classes: Sequence[str]
) -> None:
    if not set(answers) & set(classes):
        raise InputError(
            f"{shown} is no table of costs: its first line names no class of the model, such as"
            f" {one_line(classes[0])}; write a column for each class, separated by commas, in UTF-8"
        )
    for names, what in ((true, "row"), (answers, "column")):
        for name in classes:
            if names.count(name) != 1:
                raise InputError(
                    f"{shown} has {'no' if name not in names else 'more than one'} {what} for the"
                    f" class {one_line(name)}; give the cost of every class for every class"
                )
        for name in names:
            if name not in classes:
                raise InputError(f"{shown}: the model has no class {one_line(name)}; remove it")


def _cells(text: str, classes: Sequence[str]) -> list[list[str]]:
    """Return the rows of a table, by the separator that finds the most classes in its header."""
    names, lines = set(classes), text.splitlines()
    tables = [
        [
            [cell if cell in names else cell.strip() for cell in row]
            for row in csv.reader(lines, delimiter=separator)
            if any(map(str.strip, row))
        ]
        or [[]]
        for separator in _SEPARATORS
    ]
    return max(tables, key=lambda rows: len(names.intersection(rows[0])))


def _number(cell: str, place: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{place} is no number: {one_line(cell) or '(empty)'}")
    return number
