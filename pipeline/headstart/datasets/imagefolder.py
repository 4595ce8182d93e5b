"""An image folder with a file that describes its images, as Hugging Face's ``imagefolder`` has it.

``metadata.csv`` or ``metadata.jsonl`` lies in the folder, or in its folders ``train``,
``validation`` and ``test``, with a column ``file_name``, relative to it. The label is its column
``label`` (or one of `headstart.datasets.columns.LABELS`), else the folder; the split its column
``split``, else the folder. Images that it does not name are passed over and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import columns
from headstart.datasets.csv_manifest import table_rows
from headstart.datasets.folder import arrange, walk
from headstart.datasets.listing import SPLIT_NAMES, make_listing, once

NAMES = ("metadata.csv", "metadata.jsonl")
_FILE = "file_name"


def found(root: Path) -> list[Path]:
    """Return the files that describe the images of a folder; none if there are none.

    Raises:
        InputError: two of them describe the same folder.
        OSError: the folder cannot be read.
    """
    splits = [
        entry for entry in root.iterdir() if entry.name.lower() in SPLIT_NAMES and entry.is_dir()
    ]
    files = []
    for folder in (root, *sorted(splits)):
        here = [folder / name for name in NAMES if (folder / name).is_file()]
        if len(here) > 1:
            raise InputError(
                f"{one_line(folder)} has both {' and '.join(NAMES)}; remove one of them"
            )
        files += here
    return files


def list_described(root: Path, files: list[Path], name: str) -> Listing:
    """List the images of a folder that such files describe.

    Raises:
        InputError: a file cannot be read, contradicts itself or the folder, or names no image
            that is there.
    """
    ignored: Counter[str] = Counter()
    there = {image.path: image for image in arrange(list(walk(root, ignored)), str(root), ignored)}
    told = once(_told(root, files, there), ignored)
    if not there.keys() & told.keys():
        raise InputError(
            f"none of the {len(told):,} images that {one_line(files[0])} describes exists; "
            f"{_FILE} is relative to its folder"
        )
    ignored["not described"] += len(there.keys() - told.keys())
    return make_listing(root, told.values(), +ignored, name)


def _told(
    root: Path, files: list[Path], there: Mapping[str, ImageRef]
) -> Iterator[tuple[str, ImageRef]]:
    """Yield where each row stands, and its image; what it leaves out, its folder says."""
    for file in files:
        below = file.parent.relative_to(root).as_posix()
        for where, row in _described(file):
            path = _path(row[_FILE], below, where)
            folder = there.get(path) or ImageRef(path, None, "")
            column = columns.find(row, columns.LABELS)
            label = columns.label(row[column], (), where) if column else folder.label
            split = columns.split(row.get(columns.SPLIT), folder.split, where)
            yield where, ImageRef(path, label, split)


def _described(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each row stands, and its columns by their names in lower case."""
    shown = one_line(file)
    if file.suffix == ".csv":
        for place, cells in table_rows(file, (_FILE,), (*columns.LABELS, columns.SPLIT)):
            yield f"{shown}, line {place}", dict(cells)
        return
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8; save it so") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{shown}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: no JSON ({one_line(error)})") from error
        if not isinstance(row, dict) or not isinstance(row.get(_FILE), str):
            raise InputError(f"{where}: expected an object with {_FILE}")
        yield where, {key.lower(): value for key, value in row.items()}


def _path(told: str, below: str, where: str) -> str:
    path = PurePosixPath(below, told.strip().replace("\\", "/"))
    if not told.strip() or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{where}: {one_line(told) or '(empty)'} is no file in this folder")
    return str(path)
