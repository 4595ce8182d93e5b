"""Tables of features that another program computed: .npy, .npz, .csv, .tsv and .parquet files.

A table has a row of numbers for each image, and perhaps columns with names, labels and splits.
The features are the array ``X``, ``features`` or ``embeddings`` of an .npz file; a column of lists
of a .parquet file; or, in a table with a column for each feature, the largest family of columns
numbered like ``f0, f1, …`` or ``0, 1, …``, else all other columns of numbers. ``X_train`` and
``X_test``, as scikit-learn's users name them, become splits.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef, LabelSet
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import columns, csv_table, label_sets, text
from headstart.datasets.feature_columns import (
    FEATURES,
    LABELS,
    OTHERS,
    read_csv,
    read_parquet,
)
from headstart.datasets.label_columns import requested
from headstart.datasets.label_sets import LISTS, OWN, Rule, of_cells
from headstart.datasets.registry import Options

SUFFIXES = (".npy", ".npz", ".parquet", *csv_table.SUFFIXES)
CLASSES = ("classes", "class_names", "target_names", "label_names")

_PARTS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}
_MATRIX = 2  # dimensions
_NAMED = 4  # columns in a message


@dataclass(frozen=True)
class FeatureTable:
    """The rows of a table of features.

    Attributes:
        features: ``(n, d)`` in the file's own type of numbers.
        images: name, label or labels, and split of each row; the names are numbers if the table has
            none.
        named: whether the table names its rows.
        flags: the labels of a table with a column for each.
        remarks: how the table was read, a sentence each.
    """

    features: NDArray[Any]
    images: list[ImageRef]
    named: bool
    flags: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def read(path: Path, options: Options, key: str = "") -> FeatureTable:
    """Read a file of features; ``key`` names its array or column of features.

    Raises:
        InputError: the file cannot be read, or it is not clear which numbers are the features.
        HeadstartError: the file needs a package that is not installed.
    """
    shown, suffix = one_line(path), path.suffix.lower()
    if suffix in csv_table.SUFFIXES:
        return _of_columns(*read_csv(path, shown, options, key), options, shown)
    if suffix == ".parquet":
        return _of_columns(*read_parquet(path, shown, options, key), options, shown)
    arrays = load_arrays(path)
    if suffix == ".npy":
        return of_arrays({"features": arrays[""]}, options, shown)
    return of_arrays(arrays, options, shown, key)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name, or that of an .npy file under an empty name.

    Raises:
        InputError: the file cannot be read, or holds pickled objects, which may run any code.
    """
    shown = one_line(path)
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        with content:
            return {name: content[name] for name in content.files}
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise InputError(f"{shown} is not a file of arrays: {one_line(error)}") from error
        raise InputError(
            f"{shown} has pickled Python objects, which are not read; save names and labels as "
            "text: np.array(names, dtype=str)"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {shown}: {one_line(error)}") from error


def of_arrays(
    arrays: Mapping[str, NDArray[Any]], options: Options, shown: str, key: str = ""
) -> FeatureTable:
    """Return the table of named arrays, see the module for the names.

    Raises:
        InputError: as `read`.
    """
    parts = {} if key else _parts(arrays)
    if parts:
        arrays = _joined(parts, arrays, shown)
    name = key or columns.find(arrays, FEATURES) or _only_matrix(arrays, shown)
    if name not in arrays:
        raise InputError(f"{shown} has no array {one_line(name)}; it has: {_listed(arrays)}")
    features = matrix(arrays[name], shown)
    classes_key = columns.find([other for other in arrays if other != name], CLASSES)
    classes: Sequence[Any] = [] if classes_key is None else arrays[classes_key].ravel().tolist()
    cells: dict[str, Sequence[Any]] = {}
    label = columns.find(arrays, (options.label_column,) if options.label_column else LABELS)
    for other, values in arrays.items():
        if other in (name, classes_key):
            continue
        values = values[:, 0] if values.ndim == _MATRIX and values.shape[1] == 1 else values
        if values.ndim == 1:
            cells[other] = values.tolist()
        elif other == label and values.ndim == _MATRIX:  # a 0/1 column for each label
            flags = [str(flag) for flag in classes or range(values.shape[1])]
            if len(flags) != values.shape[1]:
                raise InputError(
                    f"{shown}: {other} has {values.shape[1]:,} columns, but {classes_key} names "
                    f"{len(flags):,} labels"
                )
            cells |= dict(zip(flags, values.T.tolist(), strict=True))
            options = _with_flags(options, flags)
    return _of_columns(features, cells, classes, options, shown)


def matrix(values: NDArray[Any], shown: str) -> NDArray[Any]:
    """Return features as ``(n, d)`` real numbers; else raise an `InputError`."""
    if values.ndim == _MATRIX + 1 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != _MATRIX or values.dtype.kind not in "fiub" or 0 in values.shape:
        raise InputError(
            f"{shown}: features have the shape {values.shape} and the type {values.dtype}; expected"
            " a row of real numbers for each image"
        )
    return values


def _with_flags(options: Options, flags: Sequence[str]) -> Options:
    return dataclasses.replace(options, label_columns=tuple(flags), target=MULTI_LABEL)


def _parts(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the endings of arrays such as ``X_train``, with their splits."""
    lowered = {name.lower() for name in arrays}
    parts = {end: split for end, split in _PARTS.items() if f"x_{end}" in lowered}
    return parts if len(parts) > 1 else {}


def _joined(
    parts: Mapping[str, str], arrays: Mapping[str, NDArray[Any]], shown: str
) -> dict[str, NDArray[Any]]:
    """Return ``X_train``, ``X_test`` and the like as one array each, and a column of splits."""
    pieces: dict[str, dict[str, NDArray[Any]]] = {}
    rest: dict[str, NDArray[Any]] = {}
    for name, values in arrays.items():
        stem, _, end = name.lower().rpartition("_")
        if end in parts:
            pieces.setdefault(stem, {})[end] = values
        else:
            rest[name] = values
    partial = [stem for stem, ends in pieces.items() if len(ends) < len(parts)]
    if partial:
        raise InputError(
            f"{shown} has no {partial[0]}_{next(iter(parts.keys() - pieces[partial[0]].keys()))}, "
            f"but {partial[0]} of the other splits; add it, or name the arrays without splits"
        )
    for stem, ends in pieces.items():
        if len({values.shape[1:] for values in ends.values()}) > 1:
            raise InputError(f"{shown}: the arrays {stem}_… differ in their number of columns")
        rest[stem] = np.concatenate([ends[end] for end in parts])
    lengths = [len(pieces["x"][end]) for end in parts]
    rest["split"] = np.repeat([parts[end] for end in parts], lengths)
    return rest


def _only_matrix(arrays: Mapping[str, NDArray[Any]], shown: str) -> str:
    names = [n for n, values in arrays.items() if values.ndim >= _MATRIX and values.dtype != bool]
    if len(names) != 1:
        raise InputError(
            f"{shown} has no array that is clearly the features; name it with --features NAME; it "
            f"has: {_listed(arrays)}"
        )
    return names[0]


def _listed(arrays: Mapping[str, NDArray[Any]]) -> str:
    return one_line(", ".join(f"{name} {values.shape}" for name, values in arrays.items())) or "-"


def _of_columns(
    features: NDArray[Any],
    cells: dict[str, Sequence[Any]],
    classes: Sequence[Any],
    options: Options,
    shown: str,
) -> FeatureTable:
    """Return the table of features and other columns, ``cells``; ``classes`` name numbers."""
    n = len(features)
    for name, values in cells.items():
        if len(values) != n and name in _used(cells, options):
            raise InputError(
                f"{shown}: {one_line(name)} has {len(values):,} entries, but there"
                f" are {count(n, 'row')} of features"
            )
    names_key = options.path_column or columns.find(cells, columns.NAMES)
    names = None if names_key is None else _names(cells, names_key, shown)
    rule, labels = _labels(cells, classes, options, shown, n)
    flags = rule.columns if rule else ()
    splits = cells.get(columns.find(cells, (columns.SPLIT,)) or "", [""] * n)
    width = len(str(n - 1))
    images = [
        label_sets.image(
            names[row] if names else f"{row:0{width}d}",
            label,
            columns.split(split, "", f"{shown}, row {row}"),
        )
        for row, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    unused = sorted(set(cells) - _used(cells, options) - set(flags) - OTHERS)
    remarks = [rule.remark] if rule and rule.remark else []
    if unused:
        more = f" and {len(unused) - _NAMED:,} more" if len(unused) > _NAMED else ""
        ignored = one_line(", ".join(unused[:_NAMED]))
        remarks.append(f"Columns that are neither features nor labels: {ignored}{more}.")
    own = rule.classes if rule else ()
    return FeatureTable(features, images, names is not None, own, tuple(remarks))


def _used(cells: Mapping[str, Any], options: Options) -> set[str]:
    label = (options.label_column,) if options.label_column else LABELS
    spellings = (columns.NAMES, label, (columns.SPLIT,))
    names = {columns.find(cells, spelled) for spelled in spellings} | {options.path_column}
    return {name for name in names if name} | set(options.label_columns)


def _names(cells: Mapping[str, Sequence[Any]], key: str, shown: str) -> list[str]:
    if key not in cells:
        raise InputError(f"{shown} has no column {one_line(key)}; it has: {', '.join(cells)}")
    names = []
    for row, cell in enumerate(cells[key]):
        place = f"{shown}, row {row}"
        value = text.decoded(cell, place, "the name") if isinstance(cell, bytes) else cell
        name = "" if value is None else str(value).strip()
        if not name:
            raise InputError(f"{place}: the name is empty; give every row a name")
        names.append(text.checked_file_name(name, place))
    return names


def _labels(
    cells: Mapping[str, Sequence[Any]],
    classes: Sequence[Any],
    options: Options,
    shown: str,
    n: int,
) -> tuple[Rule | None, list[LabelSet | str | None]]:
    """Return how labels are read, and the label or labels of each row."""
    place = f"{shown}, row {{}}"
    several = options.labels and options.target != SINGLE_LABEL
    if rule := requested(list(cells), options, shown) if several else None:
        rows = zip(*(cells[flag] for flag in rule.columns), strict=True)
        keys = [OWN + flag for flag in rule.columns]
        return (
            rule,
            [
                rule.labels(dict(zip(keys, row, strict=True)), place.format(number))
                for number, row in enumerate(rows)
            ],
        )
    key = options.label_column or columns.find(cells, LABELS)
    if key is None or not options.labels:
        return None, [None] * n
    if key not in cells:
        raise InputError(
            f"{shown} has no column {one_line(key)}; it has: {one_line(', '.join(cells))}"
        )
    names = [columns.label(name, (), f"{shown}, names of classes") or "" for name in classes]
    values = cells[key]
    lists = any(isinstance(value, list) for value in values) or key.lower() == LISTS
    if options.target == MULTI_LABEL or lists:
        sets = of_cells(values, key, options.target)
        if sets is not None:
            rule = dataclasses.replace(sets, names=tuple(names))
            return (
                rule,
                [
                    rule.labels({"label": value}, place.format(number))
                    for number, value in enumerate(values)
                ],
            )
    labels = [columns.label(v, names, place.format(row)) for row, v in enumerate(values)]
    if not names and any(isinstance(value, int | float) for value in values):
        labels = columns.without_marks(labels)
    return None, list(labels)
