"""Rows of features with their labels become a store without images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, StoreError, one_line
from headstart.core.files import replacing, write_text
from headstart.core.names import IMPORTED, join
from headstart.core.records import Backbone, Extraction, ImageRef, Listing, Preprocess
from headstart.core.rows import content_hash
from headstart.core.targets import MULTI_LABEL
from headstart.datasets import csv_table, describe, feature_table, read_labels
from headstart.datasets.columns import label as label_of
from headstart.datasets.listing import make_listing
from headstart.datasets.registry import Options
from headstart.features.embed.outcomes import label_states
from headstart.features.embed.single_file import software
from headstart.features.imported.reading import Rows
from headstart.features.store import columns, stored_extraction
from headstart.features.store.columns import FileState, Row, stored_name
from headstart.features.store.hdf5_writer import Head, write_file
from headstart.features.store.layout import BLOCK

_UNKNOWN = FileState(-1, -1)


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        store: the store's path.
        backbone: the name that stands for the network.
        rows: rows in the store, of which ``labelled`` have a label.
        source: rows, classes and splits in a line.
        groups: a table that names the slide of each patch; None if rows are not parts of slides.
        remarks: what to know about how the file was read, a sentence each.
    """

    store: Path
    backbone: str
    rows: int
    dim: int
    dtype: str
    labelled: int
    classes: tuple[str, ...]
    source: str
    groups: Path | None = None
    remarks: tuple[str, ...] = field(default=())

    def __fspath__(self) -> str:
        """Return the store's path: you can pass a summary where a store is expected."""
        return str(self.store)


def label_rows(rows: Rows, labels: Path, options: Options) -> Rows:
    """Return rows with the labels of a CSV or TSV file, by name, or of an .npy file, in order.

    The names of slides label their patches. Rows without names take the order of the table, if it
    has as many.

    Raises:
        InputError: the labels cannot be read, fit no row, or are not as many.
    """
    if labels.suffix.lower() == ".npy":
        return _by_order(rows, feature_table.load_arrays(labels)[""].tolist(), one_line(labels))
    if labels.suffix.lower() not in csv_table.SUFFIXES:
        raise InputError(f"{one_line(labels)} is no table of labels; give a .csv, .tsv or .npy")
    return _by_name(rows, read_labels(labels, options), one_line(labels))


def _by_order(rows: Rows, values: Sequence[Any], shown: str) -> Rows:
    if len(values) != len(rows.images):
        raise InputError(
            f"{shown} has {len(values):,} labels, but {one_line(rows.title)} has "
            f"{len(rows.images):,} rows; give one label for each row"
        )
    images = [
        replace(image, label=label_of(value, (), f"{shown}, row {row}"))
        for row, (image, value) in enumerate(zip(rows.images, values, strict=True))
    ]
    return replace(rows, images=images)


def _by_name(rows: Rows, listing: Listing, shown: str) -> Rows:
    items = list(dict.fromkeys(rows.groups.get(name, name) for name in rows.names))
    names = [image.path for image in listing.images]
    if not rows.named:
        raise InputError(
            f"{one_line(rows.title)} has no names of rows, so the labels in {shown} belong to "
            "none; add names, or give labels in the order of the rows as an .npy file"
        )
    shared = join([items, names])
    if not shared.rule:
        raise InputError(
            f"no name in {shown} is one of {one_line(rows.title)}: the first are "
            f"{one_line(names[0])} and {one_line(items[0])}; name the column with --path-column"
        )
    labelled = {
        items[here]: listing.images[there] for here, there in zip(*shared.rows, strict=True)
    }
    images = [
        _labelled(image, labelled.get(rows.groups.get(image.path, image.path)))
        for image in rows.images
    ]
    remarks = [*rows.remarks, *listing.remarks]
    if shared.rule != "path":
        remarks.append(f"The labels are joined by the {shared.rule}.")
    missing, strange = len(items) - len(labelled), len(names) - len(labelled)
    if missing:
        name = next(name for name in items if name not in labelled)
        remarks.append(
            f"{missing:,} of {len(items):,} names have no label in {shown}, such as "
            f"{one_line(name)}."
        )
    if strange:
        used = set(shared.rows[1].tolist())
        name = next(name for place, name in enumerate(names) if place not in used)
        remarks.append(
            f"{strange:,} of {len(names):,} names in {shown} have no features, such as "
            f"{one_line(name)}."
        )
    flags = listing.classes if listing.target == MULTI_LABEL else ()
    return replace(rows, images=images, remarks=tuple(remarks), flags=flags)


def _labelled(image: ImageRef, source: ImageRef | None) -> ImageRef:
    if source is None:
        return replace(image, label=None, labels=None)
    split, origin = source.split or image.split, source.origin or image.origin
    return replace(image, label=source.label, labels=source.labels, split=split, origin=origin)


def import_rows(rows: Rows, out: Path, name: str = "") -> Imported:
    """Write the store of some rows; ``name`` is that of the network that computed them.

    By default it is what the file says, or the file's own name. A store of features of the same
    name, width, type and pooling is replaced.

    Raises:
        InputError: labels contradict each other.
        StoreError: ``out`` exists and holds other features.
        OutputError: it cannot be written.
    """
    name = name or rows.encoder or Path(rows.title).stem
    dim = rows.features.shape[1]
    extraction = Extraction(described(name, dim, rows.dtype, rows.pool))
    _check_place(out, extraction)
    listing = make_listing(Path(), rows.images, {}, rows.title, labels=rows.flags)
    place = {image.path: row for row, image in enumerate(rows.images)}
    order = [place[image.path] for image in listing.images]
    features = rows.features[order]
    run = {
        "source": rows.title,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": software(),
    }
    classes = [stored_name(label) for label in listing.classes]
    entries = list(_rows(listing, features))
    origins = any(row.origin for row in entries)
    head = Head(extraction.to_json(), extraction.digest, classes, run, "", listing.target, origins)
    parts = [slice(start, start + BLOCK) for start in range(0, len(entries), BLOCK)]
    listed = (columns.rows_block(entries[part], listing.target, head.version) for part in parts)
    computed = ({"features": features[part]} for part in parts)
    with replacing(out) as partial:
        write_file(partial, head, features.shape, (listed, computed), (), {"pixels"})
    return Imported(
        store=out,
        backbone=extraction.backbone.name,
        rows=len(order),
        dim=dim,
        dtype=rows.dtype,
        labelled=sum(image.is_labelled for image in listing.images),
        classes=tuple(classes),
        source=describe(listing).replace("image", "row", 1),
        groups=_write_groups(rows, out),
        remarks=tuple(dict.fromkeys((*rows.remarks, *listing.remarks))),
    )


def described(name: str, dim: int, dtype: str, pool: str = "") -> Backbone:
    """Return what stands for the network behind features that another program computed.

    Features are interchangeable if their name, width, type and pooling are; nothing else is known
    of them. The preprocessing has no meaning.
    """
    return Backbone(
        name=IMPORTED + name,
        source="imported features",
        weights_sha256="",
        licence="",
        layer="features",
        pool=pool,
        precision=dtype,
        dim=dim,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        preprocess=Preprocess(resize=1, crop=1),
    )


def _check_place(out: Path, extraction: Extraction) -> None:
    """Raise a `StoreError` if a file would be lost that does not hold the same kind of rows."""
    if not out.exists():
        return
    stored = stored_extraction(out)
    if stored is None:
        raise StoreError(f"{one_line(out)} exists and is no feature store; choose another --out")
    # As JSON, in which tuples are lists.
    if stored != json.loads(json.dumps(extraction.to_json())):
        raise StoreError(
            f"{one_line(out)} holds other features ({one_line(extraction.difference(stored))}); "
            "choose another --out, or give the same --name for features of one network"
        )


def _rows(listing: Listing, features: NDArray[np.float32]) -> Iterator[Row]:
    """Yield the entry of each row; its hash is that of its features, as there is no image."""
    code = {name: number for number, name in enumerate(listing.classes)}
    several = listing.target == MULTI_LABEL
    for image, row in zip(listing.images, features, strict=True):
        label = -1 if image.label is None else code[image.label]
        labels = label_states(image.labels, code) if several else b""
        yield Row(image.path, label, image.split, content_hash(row), _UNKNOWN, labels, image.origin)


def _write_groups(rows: Rows, out: Path) -> Path | None:
    """Write which slide each patch belongs to, for ``--groups``; nothing if there are no slides."""
    if not rows.groups:
        return None
    path = out.with_suffix(".groups.csv")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([("path", "group"), *rows.groups.items()])
    write_text(path, text.getvalue())
    return path
