"""Images to predict, one after the other: nothing is listed as a whole, so a million are no more.

A folder stands for the images in it and below it, as in `folder`, in natural order folder by
folder; a ``.csv`` or ``.tsv`` file for its column ``path``, line by line; a pattern such as
``photos/**/*.jpg`` for what it matches; ``-`` for the lines on stdin.
"""

from __future__ import annotations

import csv
import glob
import os
import select
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.datasets.csv_manifest import SUFFIXES
from headstart.datasets.folder import walk
from headstart.datasets.listing import natural_key

STDIN = "-"
_PATIENCE = 0.2  # seconds without a line, after which those who wait are told so


def stream(names: Sequence[str]) -> Iterator[Path | None]:
    """Yield every image file that the names stand for; None where the next one may take a while.

    Args:
        names: what the user gave.

    Raises:
        InputError: a name stands for nothing, or a list cannot be read. What a list names is
            not looked at.
    """
    for name in names:
        path, kind = Path(name), kind_of(name)
        if kind == STDIN:
            yield from _lines()
        elif kind == "folder":
            yield from _some(_folder(path), f"no images in {one_line(name)}")
        elif kind == "pattern":
            yield from _some(_pattern(name), f"nothing matches {one_line(name)}")
        elif kind == "manifest":
            yield from _some(_manifest(path), f"{one_line(name)} lists no images")
        else:
            yield path


def kind_of(name: str) -> str:
    """Return what a name stands for: `STDIN`, a folder, a pattern, a manifest or an image.

    Raises:
        InputError: nothing of that name is there.
    """
    if name == STDIN:
        return STDIN
    path = Path(name)
    try:
        folder, missing = name and path.is_dir(), not name or not os.path.lexists(path)
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a NUL
        cause = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"cannot read {one_line(name)}: {cause}") from error
    if folder:
        return "folder"
    if missing and glob.has_magic(name):
        return "pattern"
    if missing:
        raise InputError(f"no such file or folder: {one_line(name) or '(empty)'}")
    return "manifest" if path.suffix.lower() in SUFFIXES else "image"


def _some(found: Iterator[Path], complaint: str) -> Iterator[Path]:
    empty = True
    for path in found:
        empty = False
        yield path
    if empty:
        raise InputError(complaint)


def _folder(root: Path) -> Iterator[Path]:
    for parts, names in walk(root, ordered=True):
        folder = root.joinpath(*parts)
        for name in sorted(names, key=lambda name: (natural_key(name), name)):
            yield folder / name


def _pattern(pattern: str) -> Iterator[Path]:
    for name in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute one
        path = Path(name)
        if not path.is_dir():
            yield path


def _manifest(manifest: Path) -> Iterator[Path]:
    shown = one_line(manifest)
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=SUFFIXES[manifest.suffix.lower()], strict=True)
            header = [name.strip().lower() for name in next(rows, [])]
            if header.count("path") != 1:
                raise InputError(f"{shown} needs a header with one column path")
            column = header.index("path")
            for row in rows:
                if row and (len(row) <= column or not row[column].strip()):
                    raise InputError(f"{shown}, line {rows.line_num}: the path is empty")
                if row:
                    yield manifest.parent / row[column]
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{shown}, line {rows.line_num}: malformed CSV ({error})") from error


def _lines() -> Iterator[Path | None]:
    """Yield the lines of stdin as they come; bytes that are not UTF-8 stay what they are."""
    handle, rest = sys.stdin.fileno(), b""
    while True:
        if not select.select([handle], [], [], _PATIENCE)[0]:
            yield None
            continue
        data = os.read(handle, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        yield from (Path(os.fsdecode(line)) for line in map(_stripped, lines) if line)
        yield None
    if _stripped(rest):
        yield Path(os.fsdecode(_stripped(rest)))


def _stripped(line: bytes) -> bytes:
    return line.removesuffix(b"\r")
