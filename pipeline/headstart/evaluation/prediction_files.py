"""Predictions in a file, as ``headstart predict --out`` and ``train-heads`` write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core.errors import InputError, count, one_line
from headstart.evaluation import label_predictions
from headstart.evaluation.answers import Answers, LabelAnswers
from headstart.evaluation.label_predictions import LabelTable

SUFFIXES = (".csv", ".jsonl")
TRUE = "true"  # the column of true labels that train-heads writes
UNSURE = "unknown"  # the label of an answer below the minimum confidence
_ROUNDED = 2e-6  # by how much rounding may move one probability past another
_OFF = 0.02  # by how much the sum of rounded probabilities may differ from 1


@dataclass(frozen=True)
class Predictions:
    """The rows of a file: paths, answers, and the true labels, None without columns of them."""

    paths: list[str]
    answers: Answers | LabelAnswers
    true: list[str | None] | LabelTable | None

    def check_truths(self, other: Predictions) -> None:
        """Raise an `InputError` if two files have different true labels for an image."""
        places = {path: row for row, path in enumerate(other.paths)}
        rows = [row for row, path in enumerate(self.paths) if path in places]
        theirs = [places[self.paths[row]] for row in rows]
        if isinstance(self.true, LabelTable) and isinstance(other.true, LabelTable):
            names = [name for name in self.true.names if name in other.true.names]
            a, b = self.true.of_labels(names)[rows], other.true.of_labels(names)[theirs]
            differ = ((a != b) & (a >= 0) & (b >= 0)).any(axis=1)
        elif isinstance(self.true, list) and isinstance(other.true, list):
            pairs = [(self.true[a], other.true[b]) for a, b in zip(rows, theirs, strict=True)]
            differ = np.array([None not in pair and pair[0] != pair[1] for pair in pairs], bool)
        else:
            return
        if differ.any():
            title, path = one_line(self.answers.title), self.paths[rows[int(differ.argmax())]]
            raise InputError(
                f"{title} and {one_line(other.answers.title)} have different true labels for"
                f" {count(int(differ.sum()), 'image')}, first {one_line(path)}; name the labelled"
                f" images: headstart evaluate {title} DATA --against …"
            )

    def matched(self, names: Sequence[Sequence[str]], title: str) -> Answers | LabelAnswers:
        """Return the answers for images, each known by several names; none for missing ones.

        Raises:
            InputError: no image is in the table.
        """
        rows = {path: row for row, path in enumerate(self.paths)}
        rows |= {_absolute(path): row for path, row in rows.items()}
        places = [
            next(
                (rows[key] for name in each for key in (name, _absolute(name)) if key in rows),
                -1,
            )
            for each in names
        ]
        if max(places) < 0:
            raise InputError(
                f"{one_line(self.answers.title)} and {title} have no image in common:"
                f" {one_line(self.paths[0])} there, {one_line(names[0][0])} here; predict the same"
                " images, by the same paths"
            )
        empty = len(self.paths)
        return self.answers.padded().take(
            np.array([empty if place < 0 else place for place in places])
        )


def read(path: Path, label_column: str = "") -> Predictions:
    """Read a table of predictions; ``label_column`` names the true labels, else ``true`` does.

    An answer is the column ``predicted`` or ``label``; ``unknown`` stands for the most probable
    class. Without a column ``p:CLASS`` for every class there are answers without probabilities. A
    table with several labels an image is read as `label_predictions` says.

    Raises:
        InputError: the file is missing or no such table, or a row contradicts itself or another.
    """
    shown = one_line(path)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = list(_lines(file, shown) if path.suffix == ".jsonl" else _table(file, shown))
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {shown}: {one_line(error)}") from error
    columns = dict.fromkeys(key for row in rows[:1] for key in row if key is not None)
    if "group" in columns and "path" not in columns:
        raise InputError(
            f"{shown} has answers for groups of images; give predictions for images, and --groups"
        )
    if label_predictions.matches(columns):
        paths = _paths(rows, shown)
        return Predictions(paths, *label_predictions.read(path, rows, label_column))
    column = "predicted" if "predicted" in columns else "label"
    if not rows or "path" not in columns or not any(column in row for row in rows):
        raise InputError(
            f"{shown} holds no predictions; give a file that headstart predict --out wrote, with"
            " the columns path and label"
        )
    if label_column and label_column not in columns:
        raise InputError(f"{shown} has no column {one_line(label_column)} with the true labels")
    paths = _paths(rows, shown)
    labels = label_column or (TRUE if TRUE in columns else "")
    true = [row.get(labels) or None for row in rows] if labels else None
    return Predictions(paths, _answers(path, rows, column, true), true)


def _paths(rows: Sequence[Mapping[str, Any]], shown: str) -> list[str]:
    paths = [str(row["path"]) for row in rows]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InputError(f"{shown} lists {one_line(twice)} more than once; keep one row an image")
    return paths


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _table(file: Iterable[str], shown: str) -> Iterable[dict[str, Any]]:
    reader = csv.DictReader(file)
    names = list(reader.fieldnames or ())
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{shown} has several columns {one_line(twice[0])}; keep one of them")
    return reader


def _lines(file: Iterable[str], shown: str) -> Iterable[dict[str, Any]]:
    """Yield the rows of JSON Lines with the columns of a CSV file."""
    for number, line in enumerate(file, 1):
        try:
            row = json.loads(line)
            scores = {f"p:{name}": p for name, p in row.get("probabilities", {}).items()}
            if row.get("top"):
                scores["class_1"] = row["top"][0]["class"]
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise InputError(
                f"{shown}, line {number}, is no prediction: {one_line(error)}"
            ) from None
        yield {key: row[key] for key in row if key != "probabilities"} | scores


def _answers(
    path: Path, rows: Sequence[Mapping[str, Any]], column: str, true: Sequence[str | None] | None
) -> Answers:
    answered = [str(row.get(column) or "") for row in rows]
    classes = tuple(dict.fromkeys(k[2:] for row in rows for k in row if k and k[:2] == "p:"))
    if not classes:
        if UNSURE not in (true or ()):  # with --top-k the most probable class is in a column
            answered = [
                str(row.get("class_1") or "") if answer == UNSURE else answer
                for row, answer in zip(rows, answered, strict=True)
            ]
        names = {*answered, *(label for label in true or () if label)} - {""}
        return Answers(str(path), tuple(sorted(names)), answered)
    code = {name: number for number, name in enumerate(classes)}
    probabilities = np.zeros((len(rows), len(classes)))
    for number, (row, answer) in enumerate(zip(rows, answered, strict=True)):
        if not answer:
            continue
        place = f"{one_line(path)}: {one_line(row['path'])}"
        scores = label_predictions.probabilities_of(row, classes, place, "class")
        if abs(scores.sum() - 1) > _OFF:
            raise InputError(
                f"{place} has probabilities that add up to {scores.sum():.3g}, not to 1; write"
                " those of all classes, or leave the columns p:… out to score the labels alone"
            )
        best = int(scores.argmax())
        chosen = best if answer == UNSURE and UNSURE not in code else code.get(answer, -1)
        if chosen < 0 or scores[best] - scores[chosen] > _ROUNDED:
            raise InputError(
                f"{place} is labelled {one_line(answer)}, but {one_line(classes[best])} is the most"
                " probable class; keep the labels as they were predicted without --costs, and"
                " put true labels into a column of their own (--label-column)"
            )
        scores[chosen] = max(scores[chosen], np.nextafter(scores[best], 2) if chosen != best else 0)
        probabilities[number], answered[number] = scores, classes[chosen]
    return Answers(str(path), classes, answered, probabilities)
