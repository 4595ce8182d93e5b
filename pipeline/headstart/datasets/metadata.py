"""Metadata files in folders of images, in the layout of Hugging Face's ``imagefolder``.

``metadata.csv`` or ``metadata.jsonl`` is beside the folders of the classes, in a folder above them
or in those of the splits. Its column ``file_name`` is relative to the file. Labels are a column
``label`` (or one of `columns.LABELS`), splits a column ``split``; the folders are used without one.
Images beside and below the file that it does not name are ignored. A file with such a name that
describes no image is left aside with a remark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, LabelSet
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import columns, csv_table, label_columns, label_sets, splits, text
from headstart.datasets.csv_table import Column
from headstart.datasets.file_names import METADATA, Ignored
from headstart.datasets.label_sets import OWN, Rule, found_columns, of_cells
from headstart.datasets.layout import Layout
from headstart.datasets.listing import unique
from headstart.datasets.registry import Options

_FILE = "file_name"
_LABEL = "label column"  # its name
_OWN = "own"  # there if the column of paths is called file_name

_Images = Mapping[str, ImageRef]


class _Row(NamedTuple):
    place: str
    cells: Mapping[str, Any]  # of file_name, label and split, as far as they exist, and of flags


class _File(NamedTuple):
    """A metadata file: its rows by path, up to the ``error`` that ended them."""

    shown: str
    rows: list[tuple[str, _Row]]
    error: InputError | None
    rule: Rule | None = None  # of the labels, if images may have several


def describe(
    layout: Layout,
    ignored: Ignored,
    shown: str,
    read: Callable[[str], bytes],
    options: Options,
    *,
    missing: bool = True,
) -> None:
    """Replace the layout's images by what metadata files among the ``ignored`` say of them.

    ``read`` returns the content of a file by its path below the root, which messages call
    ``shown``. Without ``missing``, images that are not there are counted as ignored.

    Raises:
        InputError: a file contradicts itself, or names images and cannot be read; or the user
            names a column, and there is no such file.
    """
    names = sorted(path for path in ignored.metadata if _is_in_place(path, layout))
    images = {image.path: image for image in layout.images} if names else {}
    used: dict[str, str] = {}
    rows: list[tuple[str, ImageRef]] = []
    for name in names:
        file = _read(name, one_line(f"{shown}/{name}"), read, images, options)
        if reason := _unused(file, images, layout.stem, options):
            label = one_line(name.removeprefix(layout.stem))
            layout.remarks.append(f"{label} is not used: {reason}.")
            layout.hint = layout.hint or (
                f"{label} does not describe the images ({reason}); rename it, or its "
                f"column of file names to {_FILE}"
            )
            continue
        if file.error:
            raise file.error
        folder = name.rpartition("/")[0]
        if folder in used:
            raise InputError(
                f"{one_line(shown)}/{one_line(folder)} has both {' and '.join(METADATA)}; remove "
                "one of them"
            )
        used[folder] = name
        rows += [(row.place, _image(path, row, images, file.rule)) for path, row in file.rows]
        if file.rule:
            layout.remarks.append(file.rule.remark)
            layout.labels += [name for name in file.rule.classes if name not in layout.labels]
    if options.columns and not used:
        raise InputError(
            f"{one_line(shown)} has no table of its images, so {options.columns} has no meaning; "
            "leave it out, or list the images in a CSV"
        )
    if used:
        described = unique(rows, ignored, merged=options.target == MULTI_LABEL)
        if not missing:
            ignored["described but missing"] += len(described.keys() - images.keys())
            described = {path: described[path] for path in described.keys() & images.keys()}
        _replace(layout, described, list(used), ignored)


def _replace(layout: Layout, described: _Images, folders: list[str], ignored: Ignored) -> None:
    others = [image for image in layout.images if image.path not in described]
    kept = [i for i in others if not any(_is_below(i.path, folder) for folder in folders)]
    ignored["not described"] += len(others) - len(kept)
    layout.images = [*described.values(), *kept]
    if not kept:
        layout.problem = ""
    if not all(_is_below(layout.stem, f"{folder}/") for folder in folders):
        layout.stem = ""


def _is_below(path: str, folder: str) -> bool:
    return not folder.strip("/") or path.startswith(f"{folder.rstrip('/')}/")


def _is_in_place(path: str, layout: Layout) -> bool:
    """Tell whether a file is where it may describe images: see the module."""
    folder = tuple(path.split("/")[:-1])
    base = layout.base
    return folder == base[: len(folder)] or (
        folder[:-1] == base and splits.split_of(folder[-1]) != ""
    )


def _read(
    name: str, shown: str, read: Callable[[str], bytes], images: _Images, options: Options
) -> _File:
    rows: list[tuple[str, _Row]] = []
    error, rule, content = None, None, b""
    try:
        content = read(name)
        jsonl = name.endswith(".jsonl")
        search = not any(image.label for image in images.values())
        rule = None if jsonl else _rule_of_csv(content, shown, options, search)
        for row in (_jsonl if jsonl else _csv)(content, shown, options, rule):
            rows.append((_path(row, name.rpartition("/")[0], images), row))
        if jsonl:
            rule = _rule_of_rows([row.cells for _, row in rows], shown, options, search)
    except InputError as failure:
        error = failure
    except OSError as failure:
        error = InputError(f"cannot read {shown}: {failure.strerror}")
    return _File(shown, rows, error, rule)


def _rule_of_csv(content: bytes, shown: str, options: Options, search: bool) -> Rule | None:
    paths = Column(_FILE, _spellings(options)[0], option="--path-column")
    return label_columns.of_manifest(content, paths, options, shown, search=search, needed=False)


def _rule_of_rows(
    rows: list[Mapping[str, Any]], shown: str, options: Options, search: bool
) -> Rule | None:
    """Return the rule of the labels in lines of JSON, as `label_columns.of_manifest` does."""
    if options.target == SINGLE_LABEL or not options.labels:
        return None
    every = dict.fromkeys(key for row in rows for key in row)
    keys = [key.removeprefix(OWN) for key in every if key.startswith(OWN)]
    if rule := label_columns.requested(keys, options, shown):
        return rule
    if any("label" in row for row in rows):
        column = next((str(row[_LABEL]) for row in rows if _LABEL in row), "label")
        return of_cells((row.get("label") for row in rows), column, options.target)
    if not search and options.target != MULTI_LABEL:
        return None
    flags = found_columns(rows, [OWN + key for key in keys])
    names = label_columns.other_columns(keys, ())
    chosen = [name for flag in flags if (name := flag.removeprefix(OWN)) in names]
    return label_columns.found_rule(names, chosen, options.target, shown)


def _unused(file: _File, images: _Images, stem: str, options: Options) -> str:
    """Return why a file does not describe the images; empty if it does."""
    if not any(path in images for path, _ in file.rows):
        if options.columns and file.error:
            raise file.error
        if file.error:
            reason = str(file.error).removeprefix(file.shown).lstrip(",: ").partition("; ")[0]
            return f"it {reason}" if reason.startswith(("has ", "is ")) else reason
        if not file.rows:
            return "it names no images"
        first = file.rows[0][0].removeprefix(stem)
        return f"it names none of the images (its first is {one_line(first)})"
    cells = file.rows[0][1].cells
    if _OWN not in cells and not file.rule and not {"label", "split"} & cells.keys():
        return f"it has no column {_FILE}, and neither labels nor splits"
    return ""


def _image(path: str, row: _Row, images: _Images, rule: Rule | None) -> ImageRef:
    folder = images.get(path) or ImageRef(path, None, "")
    labels: LabelSet | str | None = folder.label
    if rule:
        labels = rule.labels(row.cells, row.place)
    elif "label" in row.cells:
        labels = columns.label(row.cells["label"], (), row.place)
    split = columns.split(row.cells.get("split"), folder.split, row.place)
    return label_sets.image(path, labels, split)


def _spellings(options: Options) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that the columns of paths and of labels may have."""
    return (
        (options.path_column,) if options.path_column else (_FILE, *columns.FILES),
        (options.label_column,) if options.label_column else columns.LABELS,
    )


def _csv(content: bytes, shown: str, options: Options, rule: Rule | None) -> Iterator[_Row]:
    paths, labels = _spellings(options)
    table = [
        Column(_FILE, paths, option="--path-column"),
        Column("split", (columns.SPLIT,), required=False),
        Column(_OWN, (_FILE,), required=False),
    ]
    table += label_columns.flag_columns(rule.columns) if rule else []
    if not (rule and rule.columns):
        table += [Column("label", labels, bool(options.label_column), "--label-column")]
    for line, cells in csv_table.read(content, shown, table):
        yield _Row(f"{shown}, line {line}", cells)


def _jsonl(content: bytes, shown: str, options: Options, _: Rule | None) -> Iterator[_Row]:
    paths, labels = _spellings(options)
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{shown}, line {number}"
        try:
            document = json.loads(text.decoded(line, place, "the text"))
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({one_line(error)})") from error
        keys = document if isinstance(document, dict) else {}
        path = columns.find(keys, paths)
        if path is None or not isinstance(document[path], str):
            raise InputError(f"{place}: expected an object with {_FILE}")
        names = {_FILE: path, "label": columns.find(keys, labels)}
        names |= {"split": columns.find(keys, (columns.SPLIT,)), _OWN: columns.find(keys, [_FILE])}
        cells = {name: document[key] for name, key in names.items() if key}
        if names["label"]:
            cells[_LABEL] = names["label"]
        if not names["label"] or options.label_columns:
            cells |= {OWN + key: keys[key] for key in keys if key not in names.values()}
        yield _Row(place, cells)


def _path(row: _Row, below: str, images: _Images) -> str:
    """Return the path of the row's image below the root; it need not exist."""
    name = text.checked(row.cells[_FILE], row.place, "the path")
    path = PurePosixPath(below, name.strip().replace("\\", "/"))
    if not name.strip() or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{row.place}: {one_line(name) or '(empty)'} is not a file in this folder")
    spellings = text.forms(str(path))
    return next((spelling for spelling in spellings if spelling in images), spellings[0])
