r"""Paths that a table lists, as people and programs write them, and the files that they mean.

Paths are absolute or relative to the table's folder. If no such file exists, they are tried without
blanks around them, with ``/`` for ``\``, and with accents written the other way (NFC and NFD).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef
from headstart.datasets import storage, text

_OTHER_MACHINE = re.compile(r"[A-Za-z]:[\\/]|\\\\\w")
# What may be read in several ways or be written more simply, and the empty path.
_UNUSUAL = re.compile(r"^ | $|[\\:]|//|/\.?$|(^|/)\./|^\.?$")
_SAMPLE = 1000  # files that are looked for
_LISTED = 10_000  # entries of a folder among which a similar name is looked for


def name(cell: str, root: Path, place: str) -> str:
    """Return the path that a cell names, relative to ``root`` or absolute, with ``/``.

    Raises:
        InputError: the cell is empty, or no file can have such a name.
    """
    if cell.isascii() and cell.isprintable() and not _UNUSUAL.search(cell):
        return cell
    if not cell.strip():
        raise InputError(f"{place}: the path is empty")
    text.checked(cell, place, "the path")
    if is_foreign(cell):
        return cell.strip()
    spellings = list(_spellings(cell))
    if len(spellings) > 1:
        spellings = [path for path in spellings if exists(root / path)] or [cell.strip()]
        if spellings == [cell.strip()] and not exists(root / spellings[0]):
            spellings = [spellings[0].replace("\\", "/")]
    return str(PurePosixPath(spellings[0]))


def is_foreign(cell: str) -> bool:
    """Tell whether a path is a URL, or belongs to another machine."""
    return storage.is_url(cell.strip()) or _OTHER_MACHINE.match(cell.strip()) is not None


def exists(path: Path) -> bool:
    """Tell whether there is such a file."""
    try:
        return path.exists()
    except (OSError, ValueError):  # for instance a name that is too long
        return False


def check(images: Sequence[ImageRef], first: str, table: Path) -> list[str]:
    """Return a remark if some of the files do not exist; of many, some are looked for.

    ``first`` is the first path in the ``table``.

    Raises:
        InputError: none exists; the message says where the first was looked for.
    """
    root = table.parent
    sample = [image.path for image in images[:: -(-len(images) // _SAMPLE)]]
    missing = [path for path in sample if not exists(root / path)]
    if not missing:
        return []
    if len(missing) < len(sample) or any(exists(root / image.path) for image in images):
        of_them = "" if len(sample) == len(images) else " that were looked for"
        return [
            f"{len(missing):,} of {count(len(sample), 'listed file')}{of_them} "
            f"{'does' if len(missing) == 1 else 'do'} not exist, such as {one_line(missing[0])}."
        ]
    raise InputError(
        f"none of the {len(images):,} files that {one_line(table)} lists exists. "
        f"{_tried(first, root)}"
    )


def _tried(path: str, root: Path) -> str:
    shown = one_line(path)
    if path.startswith("file:"):
        return f"The first, {shown}, is a URL: write the path alone, without file://"
    if storage.is_url(path):
        return f"The first, {shown}, is a URL: download the images, and list the local files"
    if is_foreign(path):
        return (
            f"The first, {shown}, is a path of a Windows machine: write paths relative to the "
            f"table's folder, {one_line(root)}"
        )
    place = one_line((root / path).absolute())
    return f"The first, {shown}, was looked for as {place}: {_advice(path, root)}"


def _advice(path: str, root: Path) -> str:
    for similar in _similar(*_first_missing(root, path)):
        return f"there is {one_line(similar)}; names must be equal in case and extension"
    for base in (Path(), root.parent):
        if not Path(path).is_absolute() and exists(base / path):
            place = one_line(base.absolute())
            return f"it is in {place}; move the table there, or correct the paths"
    shorter = "/".join(PurePosixPath(path).parts[1:])
    if shorter and exists(root / shorter):
        return f"there is {one_line(shorter)}; leave the first folder out of the paths"
    return f"paths must be absolute or relative to the table's folder, {one_line(root.absolute())}"


def _first_missing(root: Path, path: str) -> tuple[Path, str]:
    """Return the first part of a path that does not exist, after the folder that does."""
    folder = root
    for part in PurePosixPath(path).parts:
        if not exists(folder / part):
            return folder, part
        folder /= part
    return folder.parent, folder.name


def _similar(folder: Path, name: str) -> Iterator[str]:
    """Yield the files of a folder whose names differ only in case, blanks or extension."""
    try:
        names = [entry.name for _, entry in zip(range(_LISTED), folder.iterdir(), strict=False)]
    except (OSError, ValueError):
        return
    key = text.lookalike(name)
    yield from (other for other in names if text.lookalike(other) == key)
    stem = PurePosixPath(key).stem
    yield from (
        other for other in names if text.lookalike(PurePosixPath(other).stem) in (stem, key)
    )


def _spellings(cell: str) -> Iterator[str]:
    """Yield the ways to read a path, the most literal first."""
    for path in dict.fromkeys((cell, cell.strip())):
        for slashed in dict.fromkeys((path, path.replace("\\", "/"))):
            yield from text.forms(slashed)
