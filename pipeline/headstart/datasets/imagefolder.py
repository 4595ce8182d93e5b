"""Image folders with a metadata file, in the layout of Hugging Face's ``imagefolder``.

``metadata.csv`` or ``metadata.jsonl`` is in the folder, or in its ``train``, ``validation`` and
``test`` folders. The column ``file_name`` is relative to the file. Labels are a column ``label``
(or one of `headstart.datasets.columns.LABELS`), splits a column ``split``; the folder is used
without one. Images that the file does not name are ignored and counted.
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
from headstart.datasets.folder import FolderSource, arrange, walk
from headstart.datasets.listing import SPLIT_NAMES, make_listing, unique
from headstart.datasets.registry import Options, Source, SourceImage

NAMES = ("metadata.csv", "metadata.jsonl")
_FILE = "file_name"


class DescribedFolderSource(Source):
    """An image folder with a file that describes its images."""

    name = "folder with metadata"

    def matches(self, data: str) -> bool:
        """Tell whether this is a folder with a metadata file; two of them are an `InputError`."""
        return Path(data).is_dir() and bool(_metadata_files(Path(data)))

    def list(self, data: str, options: Options) -> Listing:
        """List the images that the metadata files name."""
        return list_described(Path(data), _metadata_files(Path(data)), data)

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield all images of the folder, because prediction needs no labels."""
        return FolderSource().stream(data, options)


def _metadata_files(root: Path) -> list[Path]:
    splits = [
        entry for entry in root.iterdir() if entry.name.lower() in SPLIT_NAMES and entry.is_dir()
    ]
    files = []
    for folder in (root, *sorted(splits)):
        present = [folder / name for name in NAMES if (folder / name).is_file()]
        if len(present) > 1:
            raise InputError(
                f"{one_line(folder)} has both {' and '.join(NAMES)}; remove one of them"
            )
        files += present
    return files


def list_described(root: Path, files: list[Path], name: str) -> Listing:
    """List the images of a folder that metadata files name.

    Raises:
        InputError: a file cannot be read, contradicts itself, or names only missing images.
    """
    ignored: Counter[str] = Counter()
    folder = arrange(list(walk(root, ignored)), str(root), ignored)
    existing = {image.path: image for image in folder}
    described = unique(_described_images(root, files, existing), ignored)
    if not existing.keys() & described.keys():
        raise InputError(
            f"none of the {len(described):,} images that {one_line(files[0])} describes exists; "
            f"{_FILE} must be relative to its folder"
        )
    ignored["not described"] += len(existing.keys() - described.keys())
    return make_listing(root, described.values(), +ignored, name)


def _described_images(
    root: Path, files: list[Path], existing: Mapping[str, ImageRef]
) -> Iterator[tuple[str, ImageRef]]:
    """Yield each row's place and image; label and split default to the folder's."""
    for file in files:
        below = file.parent.relative_to(root).as_posix()
        for where, row in _rows(file):
            path = _path(row[_FILE], below, where)
            folder = existing.get(path) or ImageRef(path, None, "")
            column = columns.find(row, columns.LABELS)
            label = columns.label(row[column], (), where) if column else folder.label
            split = columns.split(row.get(columns.SPLIT), folder.split, where)
            yield where, ImageRef(path, label, split)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row's place and cells, by column names in lower case."""
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
        raise InputError(f"{shown} is not UTF-8; save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{shown}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({one_line(error)})") from error
        if not isinstance(row, dict) or not isinstance(row.get(_FILE), str):
            raise InputError(f"{where}: expected an object with {_FILE}")
        yield where, {key.lower(): value for key, value in row.items()}


def _path(name: str, below: str, where: str) -> str:
    path = PurePosixPath(below, name.strip().replace("\\", "/"))
    if not name.strip() or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{where}: {one_line(name) or '(empty)'} is not a file in this folder")
    return str(path)
