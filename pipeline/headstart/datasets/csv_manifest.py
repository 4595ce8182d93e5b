"""CSV manifests: ``path``, ``label`` and optionally ``split`` and ``origin``, one image a row.

`csv_table` reads the file, `listed_paths` finds the images. Columns come in any order, and others
are ignored. Labels and splits may be empty. A missing image is still listed, and reported as a
failure later; if all are missing, it is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
from headstart.datasets.listing import distinct, make_listing, unique
from headstart.datasets.origins import Origins
from headstart.datasets.registry import Options, Source, SourceImage

_SPLIT = Column("split", (columns.SPLIT,), required=False)
_ORIGIN = Column("origin", (columns.ORIGIN,), required=False)
_SUBSET = Column("subset", ("subset", "partition", "phase", "set"), required=False)
_ABOUT_SUBSETS = (
    f"The splits are those of the column {', '.join(_SUBSET.spellings[:-1])} or "
    f"{_SUBSET.spellings[-1]}, as there is none called split."
)
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
        manifest, ignored, origins = _local(data), Counter[str](), Origins()
        with suppress(OSError):  # reading says so
            origins.note(manifest, manifest.stat())
        rule = label_columns.of_manifest(manifest, _path_column(options), options)
        subset = _has_subsets(manifest, options, rule)
        rows = partial(_images, manifest, options, rule, subset=subset)
        # Sets of labels are few enough to be kept, and rows of one image may add up.
        merged = rule is not None and not rule.columns and options.target == MULTI_LABEL
        images: Iterable[ImageRef] = distinct(rows, ignored)
        if rule:
            images = unique(rows(), ignored, merged=merged).values()
        labels = rule.classes if rule else ()
        listing = make_listing(manifest.parent, images, ignored, data, labels=labels)
        if not listing.images:
            raise InputError(
                f"{one_line(manifest)} lists no images; expected one a row, as path,label"
            )
        first = next(rows())[1].path
        missing = listed_paths.check(listing.images, first, manifest)
        about = [*([_ABOUT_SUBSETS] if subset else []), *missing, *([rule.remark] if rule else [])]
        return replace(listing, remarks=(*about, *listing.remarks), origins=origins)

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


def read_labels(table: Path, options: Options) -> Listing:
    """Return the labels that a CSV or TSV file gives to names, which need not be files.

    The names may also stand in a column such as ``slide_id``.

    Raises:
        InputError: the table cannot be read, contradicts itself, or lists nothing.
    """
    shown, ignored = one_line(table), Counter[str]()
    if not options.path_column:
        header = csv_table.header(table, shown, [Column("path", columns.NAMES)])
        options = replace(options, path_column=csv_table.find(header, columns.NAMES) or "")
    rule = label_columns.of_manifest(table, _path_column(options), options)
    merged = rule is not None and not rule.columns and options.target == MULTI_LABEL
    rows = _images(table, options, rule, subset=_has_subsets(table, options, rule))
    images = unique(rows, ignored, merged=merged).values()
    labels = rule.classes if rule else ()
    remarks = [rule.remark] if rule else []
    listing = make_listing(table.parent, images, ignored, shown, remarks=remarks, labels=labels)
    if not listing.images:
        raise InputError(f"{shown} lists nothing; expected one name a row, as path,label")
    return listing


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


def _table(
    manifest: Path, options: Options, rule: label_sets.Rule | None
) -> Iterator[csv_table.Row]:
    table = [_path_column(options), _SPLIT, _SUBSET, _ORIGIN]
    table += label_columns.flag_columns(rule.columns) if rule else []
    table += [] if rule and rule.columns else [_label_column(options)]
    return csv_table.read(manifest, one_line(manifest), table)


def _images(
    manifest: Path, options: Options, rule: label_sets.Rule | None, *, subset: bool
) -> Iterator[_Row]:
    """Yield each row; the splits are those of a column such as ``subset`` if that is set."""
    shown, root = one_line(manifest), manifest.parent
    for line, cells in _table(manifest, options, rule):
        place = f"{shown}, line {line}"
        path = listed_paths.name(cells["path"], root, place)
        labels = rule.labels(cells, place) if rule else cells.get("label", "").strip() or None
        if subset:
            split = splits.split_of(cells["subset"].strip())
        else:
            split = columns.split(cells.get("split"), "", place)
        origin = columns.origin(cells.get("origin"))
        yield place, label_sets.image(path, labels, split, origin)


def _has_subsets(manifest: Path, options: Options, rule: label_sets.Rule | None) -> bool:
    """Tell whether the cells of a column such as subset are the splits: all of them, and several.

    A column that is called split has precedence.
    """
    meanings = set()
    for _, cells in _table(manifest, options, rule):
        meaning = "" if "split" in cells else splits.split_of(cells.get("subset", "").strip())
        if not meaning:
            return False
        meanings.add(meaning)
    return len(meanings) > 1


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
