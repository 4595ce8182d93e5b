"""The features of CSV and Parquet files, and the cells of their other columns."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, count, missing_extra, one_line
from headstart.core.label_text import TRUE
from headstart.datasets import columns, csv_table
from headstart.datasets.registry import Options

FEATURES = ("x", "features", "feature", "embeddings", "embedding", "feats", "vectors", "vector")
LABELS = (*columns.LABELS, "targets", "y_true")
OTHERS = frozenset(("", "index", "group", "groups", "group_id", "patient", "patient_id", "fold"))
"""Columns that are neither features nor worth a remark."""

_NUMBERED = re.compile(r"(.*?)(\d+)$")

Columns = tuple[NDArray[Any], dict[str, Sequence[Any]], Sequence[Any]]


def read_csv(path: Path, shown: str, options: Options, key: str) -> Columns:
    """Return the features, the other cells by column, and no names of classes."""
    lines = csv_table.fields(path, shown)
    _, first = next(lines)
    header = [name.strip() for name in first]
    rows = list(lines)
    if _is_headless(header):
        header, rows = [str(number) for number in range(len(header))], [(1, first), *rows]
    if not rows:
        raise InputError(f"{shown} has a header and no rows; choose another file")
    for line, cells in rows:
        if len(cells) != len(header):
            raise InputError(
                f"{shown}, line {line}: {count(len(cells), 'column')} where the header has "
                f"{len(header)}"
            )
    numeric = [name for name, cell in zip(header, rows[0][1], strict=True) if _is_number(cell)]
    chosen = _feature_columns(header, numeric, options, key, shown)
    places = [header.index(name) for name in chosen]
    features = np.empty((len(rows), len(places)))
    for row, (line, cells) in enumerate(rows):
        try:
            features[row] = [float(cells[place] or "nan") for place in places]
        except ValueError as error:
            raise InputError(f"{shown}, line {line}: {one_line(error)}") from error
    others = [place for place, name in enumerate(header) if name not in set(chosen)]
    return features, {header[i]: [cells[i].strip() for _, cells in rows] for i in others}, ()


def _is_headless(header: Sequence[str]) -> bool:
    """Tell whether a first line is a row of numbers, and not the names ``0, 1, 2, …``."""
    return all(map(_is_number, header)) and header != [str(number) for number in range(len(header))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_parquet(path: Path, shown: str, options: Options, key: str) -> Columns:
    """Return the features, the other cells by column, and the names of a column of classes."""
    try:
        pyarrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise missing_extra("pyarrow", "parquet") from error
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"cannot read {shown}: {one_line(error)}") from error
    types, schema = pyarrow.types, table.schema
    if not table.num_rows:
        raise InputError(f"{shown} has no rows; choose another file")
    lists = [field.name for field in schema if _is_list_of_floats(field.type, types)]
    chosen = [key] if key in lists else []
    if not key and lists:
        chosen = [columns.find(lists, FEATURES) or lists[0]]
        if len(lists) > 1 and columns.find(lists, FEATURES) is None:
            raise InputError(
                f"{shown} has several columns of lists ({one_line(', '.join(lists))}); name the "
                "one with the features: --features NAME"
            )
    if chosen:
        features = _of_lists(table.column(chosen[0]), shown)
    else:
        numeric = [f.name for f in schema if types.is_floating(f.type) or types.is_integer(f.type)]
        chosen = _feature_columns(schema.names, numeric, options, key, shown)
        features = np.column_stack([table.column(name).to_numpy() for name in chosen])
    others = {name: table.column(name).to_pylist() for name in schema.names if name not in chosen}
    described = columns.features_of((schema.metadata or {}).get(b"huggingface"))
    label = columns.find(others, (options.label_column,) if options.label_column else LABELS)
    return features, others, columns.hugging_face_names(described, label or "")


def _is_list_of_floats(kind: Any, types: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_floating(kind.value_type))


def _of_lists(column: Any, shown: str) -> NDArray[Any]:  # noqa: ANN401
    rows = column.combine_chunks()
    flat = rows.flatten().to_numpy(zero_copy_only=False)
    width, rest = divmod(len(flat), len(rows))
    lengths = rows.value_lengths().to_pylist() if hasattr(rows, "value_lengths") else [width]
    if rows.null_count or rest or set(lengths) != {width}:
        odd = next(row for row, length in enumerate(lengths) if length != lengths[0] or not length)
        raise InputError(
            f"{shown}, row {odd}: {lengths[odd] or 'no'} features where the first row has "
            f"{lengths[0]}; every row needs as many"
        )
    return np.asarray(flat).reshape(len(rows), width)


def _feature_columns(
    names: Sequence[str], numeric: Sequence[str], options: Options, key: str, shown: str
) -> list[str]:
    """Return the columns of features of a table with one for each; ``key`` is how they begin."""
    taken = {options.path_column, options.label_column, *options.label_columns, "split"}
    taken |= {columns.find(names, spelled) or "" for spelled in (columns.NAMES, LABELS)}
    usable = (n for n in numeric if n not in taken and not n.startswith(TRUE))
    open_ = [n for n in usable if n.lower() not in OTHERS and n]
    families: dict[str, list[tuple[int, str]]] = {}
    for name in open_:
        if matched := _NUMBERED.match(name):
            families.setdefault(matched[1], []).append((int(matched[2]), name))
    if key and key not in families:
        raise InputError(
            f"{shown} has no columns {one_line(key)}0, {one_line(key)}1, … of numbers; its columns "
            f"are: {one_line(', '.join(list(names)[:10]))}"
        )
    family = families[key] if key else max(families.values(), key=len, default=[])
    chosen = [name for _, name in sorted(family)] if len(family) > 1 or key else open_
    if not chosen:
        raise InputError(
            f"{shown} has no columns of features; expected one for each, such as f0, f1, …"
        )
    return chosen
