"""Reading a feature store, whoever wrote it, after checking it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import IN_MEMORY
from headstart.core.errors import StoreError, near_matches, one_line
from headstart.core.label_text import join
from headstart.core.records import Extraction, FeatureSet, digest_of
from headstart.features.store import columns, layout, manifest
from headstart.features.store.check import first_defect
from headstart.features.store.lazy_columns import RowsOnDisk
from headstart.features.store.opening import opened, remedy


def read(
    path: str | os.PathLike[str], layer: str = "", stream_above: float = IN_MEMORY
) -> FeatureSet:
    """Read a feature store of one layer, or one layer of it.

    The store is checked first. Data without a checksum are accepted: other tools may write stores
    too.

    Args:
        path: the store: an HDF5 file, or a folder of them.
        layer: which of its layers; empty means its only one.
        stream_above: bytes; features and miniatures that would take more memory than this in total
            stay on disk and are read on demand (`headstart.core.rows`).

    Raises:
        StoreError: it is missing, no feature store, of a newer version, or damaged; or it holds
            several layers, or not this one.
    """
    sets = read_layers(path, [layer] if layer else [], stream_above)
    _check_single(Path(path), [data.extraction["backbone"]["layer"] for data in sets])
    return sets[0]


def read_layers(
    path: str | os.PathLike[str], layers: Sequence[str] = (), stream_above: float = IN_MEMORY
) -> list[FeatureSet]:
    """Read a store: a feature set for each of the given layers, in their order; none means all.

    Each set's extraction is that of its layer alone, as if nothing else had been computed with it.
    The sets share what they have in common. ``stream_above`` and errors are those of `read`.
    """
    path = Path(path)
    refuse_defects(path)
    whole, parts = manifest.of(path), manifest.files(path)
    with opened(parts[0]) as file:
        extraction, digest = layout.document(file, "extraction"), layout.text(file.attrs["digest"])
        selected = _selected(path, file, extraction, layers)
        run = whole.run if whole else layout.document(file, "run")
        classes = whole.classes if whole else layout.read_classes(file)
        target = whole.target if whole else layout.read_target(file)
        total = whole.rows if whole else len(file["path"])
        rows = _Rows(total, file, [name for name, _ in selected], stream_above, len(classes))
    for part in parts:
        with opened(part) as file:
            rows.add(file, classes if whole else None)
    images = rows.images(parts)
    optional = {column.name for column in columns.from_image()} & _FIELDS - {"features"}
    listed: dict[str, Any] = rows.listed | {name: images.get(name) for name in optional}
    if not any(listed[columns.ORIGIN]):
        listed[columns.ORIGIN] = []
    common = FeatureSet(
        features=np.empty((0, 0), np.float32),
        classes=classes,
        extraction=extraction,
        digest=digest,
        failures=rows.failures,
        name=Path(str(run.get("source", path))).name,
        model=str(run.get("model", "")),
        weights=str(run.get("weights", "")),
        source=str(run.get("source", "")),
        run=dict(run),
        target=target,
        label_sets=rows.label_sets,
        **listed,
    )
    return [
        dataclasses.replace(common, features=images[name], extraction=part, digest=digest_of(part))
        for name, part in selected
    ]


def refuse_defects(path: Path) -> None:
    """Check a store before it is read.

    Raises:
        StoreError: it is missing, no feature store, of a newer version, or damaged.
    """
    defect = first_defect(path)
    if defect:
        raise StoreError(f"{one_line(path)} cannot be used: {defect}; {remedy(path, defect)}")


_SHARED = {"split": sys.intern, columns.ORIGIN: sys.intern}  # texts that repeat from row to row
_FIELDS = {field.name for field in dataclasses.fields(FeatureSet)}


class _Rows:
    """The rows of a store's files, one file after the other, for a `FeatureSet`."""

    def __init__(
        self,
        total: int,
        file: h5py.File,
        features: Sequence[str],
        stream_above: float,
        n_classes: int,
    ) -> None:
        sets = columns.LABELS in file
        self.label_sets = np.full((total, n_classes), -1, np.int8) if sets else None
        self.failures: list[tuple[str, str]] = []
        self.listed: dict[str, Any] = {
            column.name: [] if column.is_text else np.empty(column.shape(total), column.dtype)
            for column in columns.from_listing()
            if column.name in _FIELDS
        }
        _, *computed = columns.from_image()
        names = [column.name for column in computed if column.name in _FIELDS & set(file)]
        self._types: dict[str, type[Any]] = dict.fromkeys(features, np.float32)
        self._types |= {name: file[name].dtype.type for name in names}
        self._tails = {name: file[name].shape[1:] for name in self._types}
        self._memory: dict[str, NDArray[Any]] = {}
        size = sum(
            int(np.prod(tail)) * np.dtype(self._types[name]).itemsize
            for name, tail in self._tails.items()
        )
        self._streamed = size * total > stream_above
        if not self._streamed:
            self._memory = {
                name: np.empty((total, *tail), self._types[name])
                for name, tail in self._tails.items()
            }
        self._counts: list[int] = []

    def add(self, file: h5py.File, classes: Sequence[str] | None) -> None:
        """Add all rows of a file; its labels become codes into ``classes``, if there are any."""
        rows = slice(sum(self._counts), sum(self._counts) + len(file["path"]))
        self._counts.append(rows.stop - rows.start)
        self.failures += layout.read_failures(file)
        for name, values in self.listed.items():
            if name == "label":
                values[rows] = _codes(file, classes)
            elif name == columns.ORIGIN and name not in file:
                values += [""] * (rows.stop - rows.start)
            elif isinstance(values, list):
                values += map(_SHARED.get(name, str), layout.texts(file[name]))
            else:
                values[rows] = file[name][:]
        if self.label_sets is not None:
            own = layout.read_classes(file)
            places = [classes.index(name) for name in own] if classes else range(len(own))
            self.label_sets[rows, list(places)] = file[columns.LABELS][:]
        for name in [name for name in self._tails if name not in file]:
            del self._tails[name]  # the store has only columns that all files have
        for name in () if self._streamed else self._tails:
            _read_into(file[name], self._memory[name][rows])

    def images(self, files: Sequence[Path]) -> dict[str, Any]:
        """Return the features by dataset, and other computed columns that all files have."""
        return {
            name: RowsOnDisk(files, self._counts, name, tail, self._types[name])
            if self._streamed
            else self._memory[name]
            for name, tail in self._tails.items()
        }


def _codes(file: h5py.File, classes: Sequence[str] | None) -> NDArray[np.int32]:
    labels: NDArray[np.int32] = file["label"][:]
    if classes is None:
        return labels
    code = {name: number for number, name in enumerate(classes)}
    # Label -1, unknown, is the last entry of the table.
    return np.array([*(code[name] for name in layout.read_classes(file)), -1], np.int32)[labels]


def _read_into(dataset: h5py.Dataset, out: NDArray[Any]) -> None:
    """Read all rows block by block, so that no copy in another type is ever whole in memory."""
    for start in range(0, len(out), layout.BLOCK):
        rows = np.s_[start : start + layout.BLOCK]
        out[rows] = dataset[rows]


def only_column(path: Path, file: h5py.File, layer: str = "") -> str:
    """Return the dataset of one layer's features in a file of a sound store.

    Raises:
        StoreError: the store has several layers, or not this one.
    """
    selected = _selected(path, file, layout.document(file, "extraction"), [layer] if layer else [])
    _check_single(path, [extraction["backbone"]["layer"] for _, extraction in selected])
    return selected[0][0]


def _check_single(path: Path, layers: Sequence[str]) -> None:
    if len(layers) > 1:
        names = one_line(", ".join(layers))
        raise StoreError(f"{one_line(path)} holds several layers; choose one of: {names}")


def _selected(
    path: Path, file: h5py.File, extraction: dict[str, Any], layers: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the requested layers' datasets, each with the extraction of that layer alone."""
    backbone = layout.described(extraction)
    assert backbone is not None  # the store is sound
    stored = {backbone.layer: ("features", extraction)}
    if backbone.parts:
        datasets = layout.layer_columns(file)
        stored = {
            part.layer: (name, json.loads(json.dumps(Extraction(part).to_json())))
            for name, part in zip(datasets, backbone.split_layers(), strict=True)
        }
    for layer in layers:
        if layer not in stored:
            raise StoreError(
                f"{one_line(path)} holds no layer {one_line(layer)!r}; "
                f"{near_matches(layer, stored)}it holds: {one_line(', '.join(stored))}"
            )
    return [stored[layer] for layer in layers or stored]


class Origin(NamedTuple):
    """Where a store's features come from.

    Attributes:
        backbone: the backbone's description in the extraction.
        model: the ONNX file that was used; it may no longer exist.
        weights: the user's own weights file; empty if there was none.
        certificate: the parity certificate of the ONNX file; empty if none was kept.
    """

    backbone: dict[str, Any]
    model: str
    weights: str
    certificate: str


def read_origin(path: str | os.PathLike[str]) -> Origin:
    """Return where the features of a sound store come from, without reading its rows."""
    path = Path(path)
    whole = manifest.of(path)
    if whole:
        model, weights = (str(whole.run.get(name, "")) for name in ("model", "weights"))
        return Origin(whole.extraction["backbone"], model, weights, whole.certificate)
    with opened(path) as file:
        run = layout.document(file, "run")
        return Origin(
            layout.document(file, "extraction")["backbone"],
            str(run.get("model", "")),
            str(run.get("weights", "")),
            layout.text(file.attrs.get("certificate", "")),
        )


class Block(NamedTuple):
    """Consecutive rows; ``label`` has class names, and ``features`` is ``(b, d) float32``.

    Of a multi-label store ``label`` has the image's labels, separated by ``|``, and ``label_sets``
    is ``(b, k) int8`` in the order of `read_classes`.
    """

    path: list[str]
    label: list[str]
    split: list[str]
    features: NDArray[np.float32]
    label_sets: NDArray[np.int8] | None = None


def read_classes(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], str]:
    """Return the classes of a sound store, and the name of what is predicted."""
    path = Path(path)
    whole = manifest.of(path)
    if whole:
        return whole.classes, whole.target
    with opened(path) as file:
        return layout.read_classes(file), layout.read_target(file)


def read_size(path: str | os.PathLike[str], layer: str = "") -> tuple[int, int]:
    """Check a store, as `read` does, and return its numbers of rows and of features."""
    path = Path(path)
    refuse_defects(path)
    rows, dim = 0, 0
    for part in manifest.files(path):
        with opened(part) as file:
            count, dim = file[only_column(path, file, layer)].shape
        rows += int(count)
    return rows, int(dim)


def read_blocks(path: str | os.PathLike[str], layer: str = "") -> Iterator[Block]:
    """Yield the rows of a store that `read_size` has checked."""
    path = Path(path)
    every, _ = read_classes(path)
    for part in manifest.files(path):
        with opened(part) as file:
            yield from _blocks(file, only_column(path, file, layer), every)


def _blocks(file: h5py.File, name: str, every: Sequence[str]) -> Iterator[Block]:
    """Yield the rows of a file of a store that has the classes ``every``."""
    classes = layout.read_classes(file)
    places = [every.index(name) for name in classes]
    for start in range(0, len(file[name]), layout.BLOCK):
        rows = np.s_[start : start + layout.BLOCK]
        sets = None
        if columns.LABELS in file:
            own = file[columns.LABELS][rows]
            sets = np.full((len(own), len(every)), -1, np.int8)
            sets[:, places] = own
        yield Block(
            list(map(layout.text, file["path"][rows])),
            [classes[code] if code >= 0 else "" for code in file["label"][rows].tolist()]
            if sets is None
            else [joined(every, row) for row in sets],
            list(map(layout.text, file["split"][rows])),
            file[name][rows].astype(np.float32),
            sets,
        )


def joined(classes: Sequence[str], states: NDArray[np.int8]) -> str:
    """Return the labels that an image has, ``(k,)`` states, as one text."""
    return join(classes[code] for code in np.flatnonzero(states > 0).tolist())
