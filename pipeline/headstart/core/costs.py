"""What errors cost: a table of true and predicted classes, and the answers that cost least."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line


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

    Raises:
        InputError: the table cannot be read, lacks a class or a cost, or has a class too many.
    """
    shown = one_line(path)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if any(row)] or [[]]
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {shown}: {one_line(error)}") from error
    answers, true = header[1:], [row[0] for row in rows]
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
    matrix = np.zeros((len(classes), len(classes)))
    for row in rows:
        cells = [*row[1:], *[""] * len(answers)][: len(answers)]
        for answer, cell in zip(answers, cells, strict=True):
            place = f"{shown}: the cost of answering {one_line(answer)} for {one_line(row[0])}"
            matrix[classes.index(row[0]), classes.index(answer)] = _number(cell, place)
    return Costs(matrix)


def _number(cell: str, place: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{place} is no number: {one_line(cell) or '(empty)'}")
    return number
