"""Whether a file has the layout of a feature store, and access to its parts.

The checks look at names, types and sizes and read no rows, so that it is known what reading an
untrusted file would do before any of it is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import one_line
from headstart.core.records import Backbone
from headstart.core.targets import SINGLE_LABEL
from headstart.features.store import columns
from headstart.features.store.columns import FAILURES, FORMAT, TEXT, VERSION, Column

BLOCK = 1024  # rows handled at once; bounds memory

OTHER_VERSION = "its format has version"  # how this defect begins
RECORDS = ("certificate", "run")  # attributes of one text with a checksum, except in older stores

_MAX_CLASSES = 1_000_000
_CHECKSUM_FILTERS = (h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE)


class Layers:
    """The features of several layers, as one dataset with the layers side by side.

    ``datasets`` are ``(n, d)`` each, in the order of the backbone's parts.
    """

    def __init__(self, datasets: Sequence[h5py.Dataset]) -> None:
        self._datasets = datasets
        self._ends = np.cumsum([dataset.shape[1] for dataset in datasets])
        self.shape = (len(datasets[0]), int(self._ends[-1]))
        self.dtype = np.result_type(*(dataset.dtype for dataset in datasets))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: object) -> NDArray[Any]:
        """Return rows with the features of all layers; one row is ``(d,)``."""
        return np.concatenate([dataset[rows] for dataset in self._datasets], axis=-1)

    def __setitem__(self, rows: object, values: NDArray[Any]) -> None:
        """Write rows, each layer's columns into its dataset."""
        pieces = np.split(values, self._ends[:-1], axis=1)
        for dataset, piece in zip(self._datasets, pieces, strict=True):
            dataset[rows] = piece


Dataset: TypeAlias = h5py.Dataset | Layers


def dataset_name(layer: str) -> str:
    """Return the name of a layer's dataset in the group ``features``.

    HDF5 splits names at ``/`` and reads ``.`` as the group itself, so everything except letters,
    digits and ``-_.~`` is percent-encoded, as in URLs.

    >>> dataset_name("layer3"), dataset_name("/a/Relu 1"), dataset_name("..")
    ('layer3', '%2Fa%2FRelu%201', '%2E%2E')
    """
    return quote(layer, safe="", errors="surrogatepass") if layer.strip(".") else "%2E" * len(layer)


def described(extraction: Mapping[str, Any]) -> Backbone | None:
    """Return the backbone that made the features, or None if the document describes none."""
    try:
        return Backbone.from_json(extraction["backbone"])
    except (KeyError, TypeError, ValueError):
        return None


def layer_columns(file: h5py.File) -> dict[str, int]:
    """Return the datasets of a backbone with several layers and their widths, in order.

    Empty if the backbone has one output, or the file does not name its backbone.
    """
    backbone = None
    if "extraction" in file.attrs and is_json_object(file, "extraction"):
        backbone = described(document(file, "extraction"))
    parts = backbone.parts if backbone else ()
    return {f"features/{dataset_name(part.layer)}": part.dim for part in parts}


def column(file: h5py.File, name: str) -> Dataset:
    """Return a column of a file that has a store's layout, with the features of all layers."""
    layers = layer_columns(file) if name == "features" else []
    return Layers([file[layer] for layer in layers]) if layers else file[name]


def blocks(dataset: Dataset) -> Iterator[NDArray[Any]]:
    """Yield a dataset's rows in blocks."""
    for start in range(0, len(dataset), BLOCK):
        yield dataset[start : start + BLOCK]


def texts(dataset: h5py.Dataset) -> Iterator[str]:
    """Yield the rows of a text dataset as strings."""
    for block in blocks(dataset):
        yield from map(text, block)


def text(value: object) -> str:
    """Return a text of an HDF5 file as a string; bytes that are not UTF-8 are escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def file_version(file: h5py.File) -> int:
    """Return the version of a store's format; 0 if this release cannot read it."""
    version = text(file.attrs.get("version"))
    return int(version) if version in map(str, range(1, VERSION + 1)) else 0


def read_classes(file: h5py.File) -> tuple[str, ...]:
    """Return the class names."""
    return tuple(text(name) for name in file.attrs["classes"])


def read_target(file: h5py.File) -> str:
    """Return the name of what is predicted, see `headstart.core.targets`."""
    return text(file.attrs.get("target", SINGLE_LABEL))


def read_failures(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Yield ``(path, reason)`` of the images that could not be embedded."""
    if "failures" in file:
        group = file["failures"]
        yield from zip(texts(group["path"]), texts(group["reason"]), strict=True)


def document(file: h5py.File, name: str) -> dict[str, Any]:
    """Return a JSON attribute; an absent one is empty."""
    return dict(json.loads(text(file.attrs.get(name, "{}"))))


def record_checksum(file: h5py.File, name: str) -> str:
    """Return the SHA-256 of an attribute of one text; empty if it is missing or no text."""
    try:
        return hashlib.sha256(file.attrs[name].encode()).hexdigest()
    except (AttributeError, KeyError, OSError, RuntimeError, UnicodeError):
        return ""


def row_bytes(rows: NDArray[Any]) -> bytes:
    """Return the bytes that a checksum hashes: little-endian numbers, or texts with NULs."""
    if rows.dtype == object:
        return b"".join(_encoded(value) + b"\0" for value in rows)
    return np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes()


def row_checks(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the CRC-32 of every row's bytes, ``(n,)``."""
    if rows.dtype == object:
        pieces: Iterable[bytes | memoryview] = map(_encoded, rows)
    else:
        data, n = memoryview(row_bytes(rows)), max(1, len(rows))
        step = len(data) // n
        pieces = (data[start : start + step] for start in range(0, len(data), max(1, step)))
    return np.fromiter(map(zlib.crc32, pieces), np.uint32, len(rows))


def _encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def layout_defects(file: h5py.File) -> Iterator[str]:
    """Yield what keeps a file from being read as a store; none of its rows are read."""
    if text(file.attrs.get("format", "")) != FORMAT:
        yield "it is an HDF5 file, but no feature store (attribute format is missing or different)"
        return
    version = file_version(file)
    if not version:
        theirs = one_line(text(file.attrs.get("version")))
        yield f"{OTHER_VERSION} {theirs}; this Headstart reads versions up to {VERSION}"
        return
    yield from attribute_defects(file)
    target = read_target(file)
    table = [*columns.of_version(version, target), columns.checks(version, target)]
    if layers := layer_columns(file):
        features, *table = table
        if defect := layers_defect(file):
            yield defect
        else:
            table += [dataclasses.replace(features, name=name) for name in layers]
    yield from _group_defects(file, table, "")
    yield from failures_defects(file)


def layers_defect(file: h5py.File) -> str | None:
    """Return what is wrong with the group of several layers' features, or None."""
    if "features" not in file:
        return "group features is missing"
    if not isinstance(file.get("features", getlink=True), h5py.HardLink):
        return "features is a link to elsewhere"
    if not isinstance(file["features"], h5py.Group):
        return "features is not a group, but the backbone gives several layers"
    return None


def attribute_defects(file: h5py.File) -> Iterator[str]:
    """Yield what is missing or wrong in the root attributes."""
    for name in ("classes", "extraction", "digest"):
        if name not in file.attrs:
            yield f"attribute {name} is missing"
    if "classes" in file.attrs and not classes_are_texts(file):
        yield "attribute classes is not a list of texts"
    for name in ("extraction", "checksums", "run"):
        if name in file.attrs and not is_json_object(file, name):
            yield f"attribute {name} is not a JSON object"


def classes_are_texts(file: h5py.File) -> bool:
    """Return whether the attribute ``classes`` is a list of texts, of a plausible length."""
    attribute = file.attrs.get_id("classes")
    shape = attribute.shape
    is_text = h5py.check_string_dtype(attribute.dtype) is not None
    return shape is not None and len(shape) == 1 and shape[0] <= _MAX_CLASSES and is_text


def is_json_object(file: h5py.File, name: str) -> bool:
    """Return whether an attribute is one text that holds a JSON object."""
    if file.attrs.get_id(name).shape != ():
        return False
    try:
        return isinstance(json.loads(text(file.attrs[name])), dict)
    except ValueError:
        return False


def failures_defects(file: h5py.File) -> Iterator[str]:
    """Yield what keeps the group of failures from being read; a store need not have one."""
    if "failures" not in file:
        return
    if not isinstance(file.get("failures", getlink=True), h5py.HardLink):
        yield "failures is a link to elsewhere"
    elif not isinstance(file["failures"], h5py.Group):
        yield "failures is not a group"
    else:
        yield from _group_defects(file["failures"], FAILURES, "failures/")


def _group_defects(group: h5py.Group, table: Iterable[Column], prefix: str) -> Iterator[str]:
    lengths: dict[str, int] = {}
    for expected in table:
        name = expected.name
        if name not in group:
            if expected.required:
                yield f"dataset {prefix}{name} is missing"
            continue
        defect = column_defect(group, name, expected)
        if defect:
            yield f"{prefix}{name} {defect}"
        else:
            lengths[name] = len(group[name])
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{prefix}{name} {length}" for name, length in lengths.items())
        yield f"the datasets differ in length ({listed})"


def column_defect(group: h5py.Group, name: str, expected: Column) -> str | None:
    """Return what keeps an existing dataset from being read as the expected column, or None."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return "is a link to elsewhere"
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset):
        return "is not a dataset"
    if dataset.is_virtual or dataset.external:
        return "keeps its data in other files"
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if any(filter_ not in _CHECKSUM_FILTERS for filter_ in filters):
        return "is compressed or filtered, which stores are not"
    return _shape_defect(dataset, expected)


def _shape_defect(dataset: h5py.Dataset, expected: Column) -> str | None:
    kind = TEXT if h5py.check_string_dtype(dataset.dtype) else dataset.dtype.str[1:]
    if kind not in expected.kinds:
        return f"has type {dataset.dtype}, not {' or '.join(expected.kinds)}"
    shape, tail = dataset.shape, expected.tail  # shape is None for a dataset without one
    fits = (
        shape is not None
        and len(shape) == 1 + len(tail)
        and all(want in (None, have) for want, have in zip(tail, shape[1:], strict=True))
    )
    if not fits:
        return f"has shape {shape}"
    # Stores are not compressed, so a shape larger than the file was never written.
    available = min(dataset.id.get_storage_size(), Path(dataset.file.filename).stat().st_size)
    if available < dataset.size * dataset.dtype.itemsize:
        return f"has shape {shape}, but the file holds less"
    return None
