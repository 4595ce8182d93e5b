"""CSV manifests: a header with ``path``, ``label`` and optionally ``split``, and one image a row.

`csv_table` reads the file, `listed_paths` finds the images. Columns come in any order, and others
are ignored. Labels and splits may be empty. A missing image is still listed, and reported as a
failure later; if all are missing, it is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.core.targets import MULTI_LABEL
from headstart.datasets import (
    columns,
    csv_table,
    label_columns,
    label_sets,
    listed_paths,
    splits,
    storage,
    text,
)
from headstart.datasets.csv_table import Column
from headstart.datasets.folder import file_image
from headstart.datasets.listing import make_listing, unique
from headstart.datasets.registry import Options, Source, SourceImage

_SPLIT = Column("split", (columns.SPLIT,), required=False)
_SUBSET = Column("subset", ("subset", "partition", "phase", "set"), required=False)
_GROUP = Column("group", ("group", "groups", "group_id"))


class ManifestSource(Source):
    """A CSV or TSV file that lists images."""

    name = "manifest"
    has_columns = True

    def matches(self, data: str) -> bool:
        """Tell whether this is a CSV or TSV file, by its name."""
        return data.lower().endswith(csv_table.SUFFIXES) and storage.is_file(data)

    def list(self, data: str, options: Options) -> Listing:
        """List the images that the manifest names."""
        manifest = _local(data)
        ignored: Counter[str] = Counter()
        rule = label_columns.of_manifest(manifest, _path_column(options), options)
        rows, remarks = _with_splits(_images(manifest, options, rule))
        merged = options.target == MULTI_LABEL and not (rule and rule.columns)
        images = unique(rows, ignored, merged=merged)
        if not images:
            raise InputError(
                f"{one_line(manifest)} lists no images; expected one a row, as path,label"
            )
        remarks += listed_paths.check(images, manifest)
        remarks += [rule.remark] if rule else []
        labels = rule.columns if rule else ()
        refs = images.values()
        return make_listing(manifest.parent, refs, +ignored, data, remarks=remarks, labels=labels)

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images line by line; labels may be missing, and files are not checked."""
        manifest = _local(data)
        shown, empty = one_line(manifest), True
        for line, cells in csv_table.read(manifest, shown, [_path_column(options)], ragged=True):
            name = listed_paths.name(cells["path"], manifest.parent, f"{shown}, line {line}")
            empty = False
            yield file_image(manifest.parent / name)
        if empty:
            raise InputError(f"{shown} lists no images; expected one a row, as path")


def _path_column(options: Options) -> Column:
    """Return the column of a table with the images' paths."""
    spellings = (options.path_column,) if options.path_column else columns.FILES
    return Column("path", spellings, option="--path-column")


def _label_column(options: Options) -> Column:
    """Return the column of a table with the images' labels."""
    spellings = (options.label_column,) if options.label_column else columns.LABELS
    required = options.labels or bool(options.label_column)
    return Column("label", spellings, required, option="--label-column")


def _local(data: str) -> Path:
    if storage.is_url(data):
        raise InputError(f"{one_line(data)}: a manifest must be a local file; copy it")
    return Path(data)


_Row = tuple[str, ImageRef]  # the place, for messages, and the image


def _images(
    manifest: Path, options: Options, rule: label_sets.Rule | None
) -> Iterator[tuple[_Row, str | None]]:
    """Yield each row, and the cell that is its split if all cells of that column are.

    The cell is None if there is no such column, or one called split.
    """
    shown, root = one_line(manifest), manifest.parent
    table = [_path_column(options), _SPLIT, _SUBSET]
    table += label_columns.flag_columns(rule.columns) if rule else []
    table += [] if rule and rule.columns else [_label_column(options)]
    for line, cells in csv_table.read(manifest, shown, table):
        place = f"{shown}, line {line}"
        path = listed_paths.name(cells["path"], root, place)
        labels = rule.labels(cells, place) if rule else cells.get("label", "").strip() or None
        image = label_sets.image(path, labels, columns.split(cells.get("split"), "", place))
        yield (place, image), None if "split" in cells else cells.get("subset")


def _with_splits(rows: Iterable[tuple[_Row, str | None]]) -> tuple[list[_Row], list[str]]:
    """Return the rows with the splits of a column such as subset, and a remark about it."""
    images, cells = zip(*rows, strict=True) if (rows := list(rows)) else ((), ())
    meanings = [splits.split_of(cell.strip()) if cell else "" for cell in cells]
    if len(set(meanings)) < 2 or not all(meanings):
        return list(images), []
    pairs = zip(images, meanings, strict=True)
    return [(place, replace(image, split=split)) for (place, image), split in pairs], [
        f"The splits are those of the column {', '.join(_SUBSET.spellings[:-1])} or "
        f"{_SUBSET.spellings[-1]}, as there is none called split."
    ]


def read_groups(manifest: Path) -> dict[str, str]:
    """Return the group of each path, from a CSV or TSV file with columns ``path`` and ``group``.

    The file may be the manifest of the images with an extra column. Its paths are those in the
    store. Images without a group are left out.

    Raises:
        InputError: the table cannot be read, contradicts itself, or names no group.
    """
    shown = one_line(manifest)
    if manifest.suffix.lower() not in csv_table.SUFFIXES:
        raise InputError(f"{shown} is not a table of groups; give a .csv or .tsv with path,group")
    groups: dict[str, str] = {}
    for line, cells in csv_table.read(manifest, shown, [_path_column(Options()), _GROUP]):
        place = f"{shown}, line {line}"
        path = listed_paths.name(cells["path"], manifest.parent, place)
        group = text.class_name(cells["group"].strip())
        for name in text.forms(path):
            if groups.setdefault(name, group) != group:
                raise InputError(
                    f"{place}: {one_line(path)} is in the group {one_line(group)} here and in "
                    f"{one_line(groups[name])} above; keep one"
                )
    named = {path: group for path, group in groups.items() if group}
    if not named:
        raise InputError(f"{shown} names no group; expected one image a row, as path,group")
    return named
