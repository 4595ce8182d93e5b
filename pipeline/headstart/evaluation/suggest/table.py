"""Stores to choose from, side by side, and the CSV table of the images to label."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core import label_text, remarks
from headstart.core.choices import LABEL_FORMATS
from headstart.core.errors import InputError, UsageError, count, one_line
from headstart.core.files import write_text
from headstart.core.records import SUGGESTED, FeatureSet
from headstart.core.results import Remark
from headstart.core.suggestions import SuggestedImage, Suggestions
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL, by_name
from headstart.datasets import cvat, fiftyone, label_studio
from headstart.datasets.images import thumbnails
from headstart.datasets.label_files import Task
from headstart.datasets.label_sets import SEPARATORS
from headstart.evaluation.suggest.stage import RANDOM, Selection

COLUMNS = ("split", "origin", "guess", "confidence", "margin")  # behind path and labels
SIDE = 192  # longer side of a picture on the page, in pixels


@dataclass(frozen=True)
class Pooled:
    """One or more stores of the same features as one set of rows.

    Attributes:
        data: all rows, with the classes of all stores.
        parts: the stores, in the order of their rows.
    """

    data: FeatureSet
    parts: tuple[FeatureSet, ...]

    @classmethod
    def of(cls, parts: Sequence[FeatureSet], target: str = "") -> Pooled:
        """Put stores side by side; images of the first one are left out of the others.

        Raises:
            InputError: some have one class an image and others several labels, or the user's
                target is not that of the labels.
        """
        parts = _of_one_target(parts, target)
        if len(parts) == 1:
            return cls(parts[0], tuple(parts))
        parts = [parts[0], *(_without(part, parts[0]) for part in parts[1:])]
        classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
        code = {name: number for number, name in enumerate(classes)}
        codes = [np.array([*(code[name] for name in part.classes), -1], np.int32) for part in parts]
        labels = [own[part.label] for own, part in zip(codes, parts, strict=True)]
        sets = None
        if parts[0].label_sets is not None:
            sets = np.full((sum(map(len, parts)), len(classes)), -1, np.int8)
            rows = np.split(sets, np.cumsum([len(part) for part in parts])[:-1])
            for own, part, block in zip(codes, parts, rows, strict=True):
                assert part.label_sets is not None
                block[:, own[:-1]] = part.label_sets
        pixels = None
        if all(part.pixels is not None for part in parts):
            pixels = np.concatenate([np.asarray(part.pixels) for part in parts])
        data = dataclasses.replace(
            parts[-1],
            features=np.concatenate([np.asarray(part.features) for part in parts]),
            path=[path for part in parts for path in part.path],
            label=np.concatenate(labels),
            label_sets=sets,
            target=parts[0].target,
            split=[split for part in parts for split in part.split],
            origin=[o for part in parts for o in part.origin or [""] * len(part)],
            sha256=np.concatenate([part.sha256 for part in parts]),
            classes=classes,
            pixels=pixels,
        )
        return cls(data, tuple(parts))

    def place(self, row: int) -> tuple[FeatureSet, int]:
        """Return the store of a row, and its number there."""
        for part in self.parts:
            if row < len(part):
                return part, row
            row -= len(part)
        raise IndexError

    def file(self, row: int) -> Path | None:
        """Return the image file of a row; None if there is none, as for images in archives."""
        part, number = self.place(row)
        root = thumbnails.folder(part)
        path = None if root is None else root.absolute() / part.path[number]
        return path if path is not None and path.is_file() else None

    def picture(self, row: int) -> NDArray[np.uint8] | None:
        """Return the thumbnail of a row; None if there is none."""
        part, number = self.place(row)
        return thumbnails.thumbnail(part, number, SIDE)


def _of_one_target(parts: Sequence[FeatureSet], target: str) -> list[FeatureSet]:
    """Return stores of one target, which stores without any label take from the others."""
    named = {part.target: part.name for part in parts if part.is_labelled.any()}
    stated = {part.target for part in parts} - {SINGLE_LABEL}
    targets = {*named, *([target] if target else [])} or stated or {SINGLE_LABEL}
    if len(targets) > 1:
        own, name = next(iter(named.items()))
        raise InputError(
            f"{one_line(name)} has {by_name(own).answers} an image, and"
            f" {'--target' if target else 'the other store'} says otherwise; choose stores of one"
            " kind, or embed one of them again with --target"
        )
    (chosen,) = targets
    return [part if part.target == chosen else _unlabelled(part, chosen) for part in parts]


def _unlabelled(part: FeatureSet, target: str) -> FeatureSet:
    """Return a store without labels as one of another target."""
    sets = np.full((len(part), len(part.classes)), -1, np.int8) if target == MULTI_LABEL else None
    label = np.full(len(part), -1, np.int32)
    return dataclasses.replace(part, target=target, label=label, label_sets=sets)


def _without(part: FeatureSet, first: FeatureSet) -> FeatureSet:
    """Return a store without the images of another one, which has their labels."""
    present = {row.tobytes() for row in first.sha256}
    kept = np.array([row.tobytes() not in present for row in part.sha256], bool)
    rows = np.flatnonzero(kept)
    return dataclasses.replace(
        part,
        features=np.asarray(part.features)[rows],
        path=[part.path[row] for row in rows],
        label=part.label[rows],
        label_sets=None if part.label_sets is None else part.label_sets[rows],
        split=[part.split[row] for row in rows],
        origin=[part.origin[row] for row in rows] if part.origin else [],
        sha256=part.sha256[rows],
        pixels=None if part.pixels is None else np.asarray(part.pixels)[rows],
    )


def write(
    path: Path,
    pooled: Pooled,
    selection: Selection,
    kind: str = LABEL_FORMATS[0],
    all_images: bool = False,
) -> list[Remark]:
    """Write the images to label, and return a remark if their paths lead to no files.

    ``kind`` is one of `core.choices.LABEL_FORMATS`. Paths in CSV are relative to the table's
    folder; other images follow if asked for, with their labels. Several labels are in a column
    ``labels``, or, where those of some images are partly unknown, in a column of 0 and 1 each. The
    formats of annotation tools have the images' names in the store, which are relative to their
    folder.

    Raises:
        UsageError: other images are asked for in the format of a tool.
        OutputError: the file cannot be written.
    """
    if kind == LABEL_FORMATS[0]:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        cells = _Cells.of(pooled.data, all_images)
        table.writerow(("path", *cells.columns, *COLUMNS))
        table.writerows(_rows(path, pooled, selection, cells, all_images))
        write_text(path, text.getvalue())
    elif all_images:
        raise UsageError("--all is for CSV; annotation tools have the other images already")
    else:
        write_text(path, _for_tool(kind, selection.suggestions))
    missing = [row for row in selection.rows.tolist() if pooled.file(row) is None]
    if not missing or pooled.data.is_imported:
        return []
    return [
        remarks.remark(
            "HS805",
            f"{count(len(missing), 'image')} of the table {'is' if len(missing) == 1 else 'are'} no"
            f" {'file' if len(missing) == 1 else 'files'} here, such as"
            f" {one_line(pooled.data.path[missing[0]])}: its name is that in the store.",
        )
    ]


def _for_tool(kind: str, suggestions: Suggestions) -> str:
    images = [_task(image) for image in suggestions.images]
    several = suggestions.target == MULTI_LABEL
    _, studio, cvat_xml, _ = LABEL_FORMATS
    if kind == cvat_xml:
        return cvat.guesses(images, suggestions.classes)
    document: object = (
        label_studio.tasks(images, suggestions.guesser)
        if kind == studio
        else fiftyone.guesses(images, suggestions.classes, several)
    )
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _task(image: SuggestedImage) -> Task:
    if image.labels is not None:
        return Task(image.path, tuple((each.label, each.confidence) for each in image.labels))
    return Task(image.path, ((image.label, image.confidence or 0.0),) if image.label else ())


@dataclass(frozen=True)
class _Cells:
    """The columns of a table that have an image's labels, and what is in them."""

    data: FeatureSet
    columns: tuple[str, ...]

    @classmethod
    def of(cls, data: FeatureSet, all_images: bool) -> _Cells:
        sets = data.label_sets
        if sets is None:
            return cls(data, ("label",))
        if all_images and np.any((sets < 0) & data.is_labelled[:, None]):
            return cls(data, tuple(label_text.TRUE + name for name in data.classes))
        return cls(data, ("labels",))

    def empty(self) -> tuple[str, ...]:
        """Return the cells of an image that nobody looked at."""
        return (label_text.UNKNOWN,) if self.columns == ("labels",) else ("",) * len(self.columns)

    def row(self, row: int) -> tuple[str, ...]:
        """Return the cells of an image."""
        sets = self.data.label_sets
        if sets is None:
            return (self.data.label_text(row),)
        if self.columns != ("labels",):
            return tuple("" if value < 0 else str(value) for value in sets[row].tolist())
        if not self.data.is_labelled[row]:
            return self.empty()
        names = [self.data.classes[code] for code in np.flatnonzero(sets[row] > 0).tolist()]
        if any(mark in name for name in self.data.classes for mark in SEPARATORS):
            return (json.dumps(names, ensure_ascii=False),)
        return (label_text.join(names),)


def _rows(
    path: Path, pooled: Pooled, selection: Selection, cells: _Cells, all_images: bool
) -> Iterator[tuple[str, ...]]:
    data, suggestions = pooled.data, selection.suggestions
    origin = RANDOM if suggestions.strategy == RANDOM else SUGGESTED
    for row, image in zip(selection.rows.tolist(), suggestions.images, strict=True):
        confidence = "" if image.confidence is None else f"{image.confidence:.4f}"
        margin = "" if image.margin is None else f"{image.margin:.4f}"
        name = _name(path, pooled, row)
        yield name, *cells.empty(), data.split[row], origin, image.label, confidence, margin
    if all_images:
        chosen = set(selection.rows.tolist())
        for row in range(len(data)):
            if row not in chosen:
                own = data.origin[row] if data.origin else ""
                name = _name(path, pooled, row)
                yield name, *cells.row(row), data.split[row], own, "", "", ""


def _name(path: Path, pooled: Pooled, row: int) -> str:
    file = pooled.file(row)
    if file is None:
        return pooled.data.path[row]
    return Path(os.path.relpath(file, path.resolve().parent)).as_posix()
