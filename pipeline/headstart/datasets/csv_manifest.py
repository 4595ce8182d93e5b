"""CSV manifests: a header with ``path``, ``label`` and optionally ``split``, and one image a row.

The file is UTF-8, with commas (``.csv``) or tabs (``.tsv``). Columns come in any order, and others
are ignored. Paths are absolute or relative to the manifest's folder; labels and splits may be
empty. A missing image is still listed, and reported as a failure later; if all are missing, it is
an error.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import columns, storage
from headstart.datasets.folder import file_image
from headstart.datasets.listing import make_listing, unique
from headstart.datasets.registry import Options, Source, SourceImage

SUFFIXES = {".csv": ",", ".tsv": "\t"}
"""The extensions of manifests, with what separates their columns."""

_IMAGES = ("path", "label"), ("split",)  # required and optional columns
_GROUPS = ("path", "group"), ()
_NOT_TEXT = re.compile("[\0\udc80-\udcff]")

Row = tuple[int, dict[str, str]]


class ManifestSource(Source):
    """A CSV or TSV file that lists images."""

    name = "manifest"

    def matches(self, data: str) -> bool:
        """Tell whether this is a CSV or TSV file, by its name."""
        return data.lower().endswith(tuple(SUFFIXES)) and storage.is_file(data)

    def list(self, data: str, options: Options) -> Listing:
        """List the images that the manifest names."""
        manifest = _local(data)
        root, shown = manifest.parent, one_line(manifest)
        ignored: Counter[str] = Counter()
        rows = ((f"{shown}, line {line}", row) for line, row in table_rows(manifest, *_IMAGES))
        images = unique(((place, _image(row, root, place)) for place, row in rows), ignored)
        if not images:
            raise InputError(f"{shown} lists no images; expected one a row, as path,label")
        if not any(_exists(root / path) for path in images):
            raise InputError(
                f"none of the files in {shown} exists; their paths must be absolute or "
                f"relative to the manifest's folder, {one_line(root)}"
            )
        return make_listing(root, images.values(), +ignored, data)

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images line by line; labels may be missing, and files are not checked."""
        manifest = _local(data)
        empty = True
        for line, row in table_rows(manifest, ("path",), (), ragged=True):
            if not row["path"].strip():
                raise InputError(f"{one_line(manifest)}, line {line}: the path is empty")
            empty = False
            yield file_image(manifest.parent / row["path"])
        if empty:
            raise InputError(f"{one_line(manifest)} lists no images; expected one a row, as path")


def _local(data: str) -> Path:
    if storage.is_url(data):
        raise InputError(f"{one_line(data)}: a manifest must be a local file; copy it")
    return Path(data)


def read_groups(manifest: Path) -> dict[str, str]:
    """Return the group of each path, from a CSV or TSV file with columns ``path`` and ``group``.

    The file may be the manifest of the images with an extra column. Its paths are those in the
    store. Images without a group are left out.

    Raises:
        InputError: the table cannot be read, contradicts itself, or names no group.
    """
    shown = one_line(manifest)
    if manifest.suffix.lower() not in SUFFIXES:
        raise InputError(f"{shown} is not a table of groups; give a .csv or .tsv with path,group")
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


def _image(row: dict[str, str], root: Path, place: str) -> ImageRef:
    if not row["path"].strip():
        raise InputError(f"{place}: the path is empty")
    split = columns.split(row.get("split"), "", place)
    return ImageRef(_normalised(row["path"], root), row["label"].strip() or None, split)


def _normalised(path: str, root: Path) -> str:
    """Return a path with ``/`` and without ``./``; a backslash may be part of an existing name."""
    if "\\" in path and not _exists(root / path):
        path = path.replace("\\", "/")
    return str(PurePosixPath(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # for instance a name that is too long
        return False


def table_rows(
    manifest: Path, required: tuple[str, ...], optional: tuple[str, ...], ragged: bool = False
) -> Iterator[Row]:
    """Yield each row's line number and its values in the required and optional columns.

    The file is read line by line. With ``ragged``, rows may be shorter or longer than the header.

    Raises:
        InputError: the file cannot be read, is malformed, or lacks a required column.
    """
    shown = one_line(manifest)
    try:
        with manifest.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            delimiter = SUFFIXES[manifest.suffix.lower()]
            reader = csv.reader(_checked(file, shown), delimiter=delimiter, strict=True)
            header = next(reader, None)
            indexes = _columns(header, manifest, required, optional)
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header or ()) and not ragged:
                    raise InputError(
                        f"{shown}, line {reader.line_num}: {len(fields)} columns where the header "
                        f"has {len(header or ())}; quote a value that has a separator in it"
                    )
                cells = dict(enumerate(fields))
                yield reader.line_num, {name: cells.get(i, "") for name, i in indexes.items()}
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{shown}, line {reader.line_num}: malformed CSV ({error})") from error


def _checked(lines: Iterable[str], shown: str) -> Iterator[str]:
    """Yield lines, and refuse bytes that are not UTF-8, which arrive as lone surrogates."""
    for number, line in enumerate(lines, 1):
        if _NOT_TEXT.search(line):
            problem = "a NUL character" if "\0" in line else "not UTF-8"
            raise InputError(f"{shown}, line {number}: {problem}; save it as CSV in UTF-8")
        yield line


def _columns(
    header: list[str] | None,
    manifest: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...],
) -> dict[str, int]:
    if header is None:
        raise InputError(
            f"{one_line(manifest)} is empty; expected a header with {','.join(required)}"
        )
    names = [name.strip().lower() for name in header]
    present = one_line(", ".join(header))
    for column in (*required, *optional):
        if names.count(column) > 1:
            raise InputError(f"{one_line(manifest)}: the column {column} is there twice: {present}")
    missing = [column for column in required if column not in names]
    if missing:
        separator = "tabs" if manifest.suffix.lower() == ".tsv" else "commas"
        raise InputError(
            f"{one_line(manifest)} has no column {' and no column '.join(missing)}; its header, "
            f"separated by {separator}, has: {present}"
        )
    return {column: names.index(column) for column in (*required, *optional) if column in names}
