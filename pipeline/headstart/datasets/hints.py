"""Signs of labels that were not read, for sources in which no image has one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.core.errors import InputError, count, one_line
from headstart.datasets import columns, csv_table
from headstart.datasets.csv_table import Column
from headstart.datasets.file_names import NOT_IMAGE, Ignored
from headstart.datasets.layout import Layout

_LABELS = ("cls", "class", "label", "labels", "id")
_COMPANIONS = ("txt", "json", "xml", "csv")  # labels if there is one for most images
_LIKE_LABELS = "label class categor target species breed diagnos annotation".split()
_TABLES = 10  # that are looked into


def note_unlabelled(layout: Layout, ignored: Ignored, root: Path | None = None) -> None:
    """Set the hint of a layout without labels, from the ``ignored`` files of a tree.

    ``root`` is the folder in which to look for tables; None for archives.
    """
    labelled = any(label is not None or labels is not None for label, _, labels, _ in layout.kinds)
    if layout.hint or labelled:
        return
    tables = ignored.tables[:_TABLES] if root is not None else []
    layout.hint = (
        next((hint for table in tables if root and (hint := _of_table(root / table))), "")
        or of_files(ignored, len(layout.images))
        or _of_splits(layout)
    )


def of_files(ignored: Mapping[str, int], images: int) -> str:
    """Return what ignored files beside unlabelled images may mean; empty if nothing."""
    kinds = {kind.rpartition(".")[2]: kind for kind in ignored if kind.startswith(NOT_IMAGE)}
    for extension in (*_LABELS, *_COMPANIONS):
        number = ignored[kinds[extension]] if extension in kinds else 0
        if number and (extension in _LABELS or 2 * number >= images):
            return (
                f"{count(number, 'file')} .{extension} beside the images "
                f"{'was' if number == 1 else 'were'} passed over: labels are the folders of the "
                "images, a CSV of path,label, or KEY.cls beside KEY.jpg in a tar, where KEY ends "
                "at the first dot of the name (--label-column reads another extension)"
            )
    return ""


def _of_table(path: Path) -> str:
    table = [Column("path", columns.FILES), Column("label", columns.LABELS)]
    try:
        next(csv_table.read(path, one_line(path), table), None)
    except InputError:
        return ""
    command = f"headstart features {shlex.quote(one_line(path))} --out STORE.h5"
    return f"{one_line(path.name)} lists images with labels; run: {command}"


def _of_splits(layout: Layout) -> str:
    splits = sorted({split for _, split, *_ in layout.kinds} - {""})
    if "train" not in splits:
        return ""
    return (
        f"the folders of the splits ({', '.join(splits)}) have no folders of classes in them; make "
        "one for each class, or list the images in a CSV of path,label,split"
    )


def of_columns(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the hint and the remarks about columns of which none is known to have labels.

    There is a hint if a name sounds like labels.

    >>> of_columns(["fine_label"])[0] != "", of_columns(["caption"])[0]
    (True, '')
    """
    if not names:
        return "", []
    text = (
        f"no column is called label; the columns are {one_line(', '.join(names))}: choose one "
        "with --label-column NAME"
    )
    if any(word in name.lower() for name in names for word in _LIKE_LABELS):
        return text, []
    return "", [f"No image has a label: {text}."]
