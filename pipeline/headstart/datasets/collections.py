"""Files that hold many images, by what they are called: one, a folder of them, or a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import Listing
from headstart.datasets import hdf5, parquet, storage
from headstart.datasets.archives import PACKED, TAR, ZIP
from headstart.datasets.folder import NoImages, clutter
from headstart.datasets.listing import natural_key
from headstart.datasets.parquet import is_saved, list_saved
from headstart.datasets.webdataset import list_archives

__all__ = ["is_pattern", "is_saved", "list_behind", "list_below", "list_files", "list_saved"]

_ARCHIVES, _TABLES = (TAR, ZIP), (parquet.PARQUET, parquet.ARROW)
_KINDS = {"archives": _ARCHIVES, "tables": _TABLES, "arrays": hdf5.SUFFIXES}
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MOST = 1_000_000  # names that a pattern may stand for


def kind_of(place: str) -> str | None:
    """Return what a file is, by its name: ``archives``, ``tables`` or ``arrays``; None if nothing.

    >>> kind_of("a/b.TAR"), kind_of("s3://b/x.parquet"), kind_of("x.jpg")
    ('archives', 'tables', None)
    """
    name = place.lower()
    return next((kind for kind, endings in _KINDS.items() if name.endswith(endings)), None)


def list_files(files: Sequence[str], names: Sequence[str], name: str) -> Listing:
    """List the images of files that hold many.

    Args:
        files: paths or URLs, all of one kind.
        names: what each is called in the paths of its images, if there are several.
        name: how the user named them.

    Raises:
        InputError: they are of no kind that is known, of several, or cannot be used.
    """
    # Whole paths, since workers on other machines have other working folders.
    files = [place if storage.is_url(place) else str(Path(place).absolute()) for place in files]
    kinds = {kind_of(place) for place in files}
    if len(kinds) > 1:
        raise InputError(
            f"{one_line(name)} holds files of several kinds ({one_line(', '.join(names[:3]))} …); "
            "give those of one kind"
        )
    kind = kinds.pop()
    if kind == "archives":
        return list_archives(files, names, name)
    if kind == "tables":
        return parquet.list_tables(files, names, name)
    if kind == "arrays" and len(files) == 1:
        return hdf5.list_arrays(files[0], name)
    if kind == "arrays":
        raise InputError(f"{one_line(name)} holds several HDF5 files; give one of them")
    if files[0].lower().endswith(PACKED):
        raise InputError(
            f"{one_line(name)} is compressed as a whole, so no image in it can be reached by "
            "itself; decompress it (gunzip) or write a .zip"
        )
    raise InputError(
        f"{one_line(name)} is no folder; give a folder of images, a manifest (.csv or .tsv) that "
        f"lists them, or a file that holds them ({', '.join((*_ARCHIVES, *_TABLES, '.h5'))})"
    )


def list_below(folder: Path, name: str, nothing: NoImages) -> Listing:
    """List the images of the archives or tables in a folder without images of its own.

    Raises:
        NoImages: the error given, if there are none.
        InputError: they cannot be used.
    """
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [below for below in folders if not clutter(below)]
        paths = [Path(here, file) for file in files if not clutter(file)]
        found += [path for path in paths if kind_of(path.name) and path.is_file()]
    names = {path.relative_to(folder).as_posix(): str(path) for path in found}
    return _list_named(names, name, nothing)


def list_behind(url: str, nothing: NoImages) -> Listing:
    """Do what `list_below` does for a folder behind a URL."""
    found = {name: place for name, place, _ in storage.listed(url) if kind_of(name)}
    return _list_named(found, url, nothing)


def _list_named(found: dict[str, str], name: str, nothing: NoImages) -> Listing:
    if not found:
        raise nothing
    ordered = sorted(found, key=lambda called: (natural_key(called), called))
    return list_files([found[called] for called in ordered], ordered, name)


def is_pattern(data: str) -> bool:
    """Tell whether a source is a pattern: ``shards/*.tar`` or ``shards/{000..117}.tar``."""
    return any(mark in data for mark in "*?[{")


def list_pattern(data: str) -> Listing:
    """List the images of the files that a pattern stands for.

    Raises:
        InputError: there are none, one is missing, or they cannot be used.
    """
    files: list[str] = []
    for name in _expanded(data):
        if glob.has_magic(name):
            files += sorted(glob.glob(name), key=lambda path: (natural_key(path), path))  # noqa: PTH207
        elif Path(name).is_file():
            files.append(name)
        else:
            raise InputError(f"{one_line(data)}: there is no {one_line(name)}")
    files = list(dict.fromkeys(files))
    if not files:
        raise InputError(f"no file matches {one_line(data)}")
    common = os.path.commonpath([os.path.dirname(place) or "." for place in files])  # noqa: PTH120
    names = [os.path.relpath(place, common) for place in files]
    return list_files(files, names, data)


def _expanded(data: str) -> Iterator[str]:
    """Yield what braces stand for: ``{000..117}`` numbers, ``{a,b}`` words.

    >>> list(_expanded("{train,val}-{8..10}.tar"))[:4]
    ['train-8.tar', 'train-9.tar', 'train-10.tar', 'val-8.tar']
    """
    pieces = _BRACES.split(data)
    choices: list[list[str]] = []
    total = 1
    for at, piece in enumerate(pieces):
        numbers = _RANGE.fullmatch(piece) if at % 2 else None
        if numbers:
            first, last = int(numbers[1]), int(numbers[2])
            total *= max(last - first + 1, 1)
            if total > _MOST or last < first:
                raise InputError(f"{one_line(data)}: {{{piece}}} is no range of numbers")
            choices.append([f"{n:0{len(numbers[1])}d}" for n in range(first, last + 1)])
        else:
            choices.append(piece.split(",") if at % 2 else [piece])
    for chosen in product(*choices):
        yield "".join(chosen)
