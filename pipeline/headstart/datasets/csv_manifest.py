"""A CSV manifest: a header with ``path`` and ``label``, and ``split`` if wanted; one image a row.

UTF-8, with or without a byte order mark; commas in ``.csv``, tabs in ``.tsv``; columns in any
order, others are not read. Paths are absolute or relative to the manifest's folder. An empty label
means unlabelled, an empty split means none. Errors name the line.

A file that does not exist is still listed, so that it is reported as a failure later; when none
exists, the paths are relative to something else, and that is an error.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets.listing import SPLIT_NAMES, make_listing, once

SUFFIXES = {".csv": ",", ".tsv": "\t"}
"""The extensions of manifests, with what separates their columns."""

_IMAGES = ("path", "label"), ("split",)  # required and optional columns
_GROUPS = ("path", "group"), ()

Row = tuple[int, dict[str, str]]


def list_manifest(manifest: Path, name: str) -> Listing:
    """List the images that a manifest names.

    Args:
        manifest: the file.
        name: how the user named it.

    Raises:
        InputError: the manifest cannot be read or contradicts itself, or none of its files
            exists.
    """
    root, shown = manifest.parent, one_line(manifest)
    ignored: Counter[str] = Counter()
    rows = ((f"{shown}, line {line}", row) for line, row in table_rows(manifest, *_IMAGES))
    seen = once(((where, _image(row, root, where)) for where, row in rows), ignored)
    if not seen:
        raise InputError(f"{shown} lists no images; expected one a row, as path,label")
    if not any(_exists(root / path) for path in seen):
        raise InputError(
            f"none of the files in {shown} exists; their paths must be absolute or "
            f"relative to the manifest's folder, {one_line(root)}"
        )
    return make_listing(root, seen.values(), +ignored, name)


def read_groups(manifest: Path) -> dict[str, str]:
    """Return which group each image belongs to: a table with the columns ``path`` and ``group``.

    It may be the manifest that the images were listed from, with a column more. Images without a
    group are not in the result.

    Args:
        manifest: ``.csv`` or ``.tsv``; paths as in the store, which are those of the listing.

    Raises:
        InputError: it cannot be read, contradicts itself, or names no group.
    """
    shown = one_line(manifest)
    if manifest.suffix.lower() not in SUFFIXES:
        raise InputError(f"{shown} is no table of groups; give a .csv or .tsv file with path,group")
    groups: dict[str, str] = {}
    for line, row in table_rows(manifest, *_GROUPS):
        path, group = _normalised(row["path"], manifest.parent), row["group"].strip()
        if groups.setdefault(path, group) != group:
            raise InputError(
                f"{shown}, line {line}: {one_line(path)} is in the group {one_line(group)} here and"
                f" in {one_line(groups[path])} above; keep one"
            )
    named = {path: group for path, group in groups.items() if group}
    if not named:
        raise InputError(f"{shown} names no group; expected one image a row, as path,group")
    return named


def _image(row: dict[str, str], root: Path, where: str) -> ImageRef:
    if not row["path"].strip():
        raise InputError(f"{where}: the path is empty")
    split = row.get("split", "").strip()
    if split and split.lower() not in SPLIT_NAMES:
        raise InputError(
            f"{where}: {one_line(split)} is no split; write train, validation, test or nothing"
        )
    path = _normalised(row["path"], root)
    return ImageRef(path, row["label"].strip() or None, SPLIT_NAMES.get(split.lower(), ""))


def _normalised(path: str, root: Path) -> str:
    """Return a path with ``/`` and without ``./``; a backslash counts unless it is in a name."""
    if "\\" in path and not _exists(root / path):
        path = path.replace("\\", "/")
    return str(PurePosixPath(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # for instance a name that is too long
        return False


def table_rows(
    manifest: Path, required: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[Row]:
    """Yield the number of each row's line, and those of its columns that matter.

    Raises:
        InputError: the file is no such table.
    """
    text = _text(manifest)
    delimiter = SUFFIXES[manifest.suffix.lower()]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        columns = _columns(header, manifest, required, optional)
        for fields in reader:
            if not fields:
                continue  # an empty line
            if len(fields) != len(header or ()):
                raise InputError(
                    f"{one_line(manifest)}, line {reader.line_num}: {len(fields)} columns where "
                    f"the header has {len(header or ())}; quote a value that holds a separator"
                )
            yield reader.line_num, {key: fields[index] for key, index in columns.items()}
    except csv.Error as error:
        raise InputError(
            f"{one_line(manifest)}, line {reader.line_num}: malformed CSV ({error})"
        ) from error


def _columns(
    header: list[str] | None,
    manifest: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...],
) -> dict[str, int]:
    """Return the position of each column that matters."""
    if header is None:
        raise InputError(
            f"{one_line(manifest)} is empty; expected a header with {','.join(required)}"
        )
    names = [name.strip().lower() for name in header]
    found = one_line(", ".join(header))
    for column in (*required, *optional):
        if names.count(column) > 1:
            raise InputError(f"{one_line(manifest)}: the column {column} is there twice: {found}")
    missing = [column for column in required if column not in names]
    if missing:
        separator = "tabs" if manifest.suffix.lower() == ".tsv" else "commas"
        raise InputError(
            f"{one_line(manifest)} has no column {' and no column '.join(missing)}; its header, "
            f"separated by {separator}, has: {found}"
        )
    return {column: names.index(column) for column in (*required, *optional) if column in names}


def _text(manifest: Path) -> str:
    try:
        data = manifest.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {one_line(manifest)}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{one_line(manifest)}, line {line}: not UTF-8; save it as CSV in UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{one_line(manifest)}, line {line}: a NUL character; save it as text")
    return text
