"""Reading a feature store that anybody may have written: look first, then read."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import IN_MEMORY
from headstart.core.errors import StoreError, near_matches, one_line
from headstart.core.records import Extraction, FeatureSet, digest_of
from headstart.core.rows import Features, Pixels
from headstart.features.store import manifest
from headstart.features.store.check import first_defect
from headstart.features.store.layout import (
    BLOCK,
    described,
    document,
    layer_columns,
    read_classes,
    read_failures,
    text,
    texts,
)
from headstart.features.store.lazy_columns import RowsOnDisk
from headstart.features.store.opening import opened


def read(
    path: str | os.PathLike[str], layer: str = "", stream_above: float = IN_MEMORY
) -> FeatureSet:
    """Read a feature store of one layer, or one layer of it.

    Nothing is read before the store is checked. Data without a checksum are taken as they are:
    other tools may write stores too.

    Args:
        path: the store: an HDF5 file, or a folder of them.
        layer: which of its layers; empty means its only one.
        stream_above: bytes; features and miniatures that would take more memory than this, in
            all, stay on disk and are read on demand (`headstart.core.rows`).

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
    """Read a store: a feature set for each of its layers, or of those that are wanted.

    Each set's extraction is that of its layer alone, as if nothing else had been computed with it.
    What the sets have in common is in memory once.

    Args:
        path: the store.
        layers: which of its layers, in this order; none means all.
        stream_above: bytes; features and miniatures that would take more in memory, together,
            stay on disk (`headstart.core.rows`).

    Raises:
        StoreError: as `read` does.
    """
    path = Path(path)
    defect = first_defect(path)
    if defect:
        raise StoreError(f"{one_line(path)} cannot be used: {defect}; see: headstart verify")
    whole, parts = manifest.of(path), manifest.files(path)
    with opened(parts[0]) as file:
        extraction, digest = document(file, "extraction"), text(file.attrs["digest"])
        chosen = _chosen(path, file, extraction, layers)
        run = whole.run if whole else document(file, "run")
        classes = whole.classes if whole else read_classes(file)
        total = whole.rows if whole else len(file["path"])
        names = [name for name, _ in chosen]
        in_memory = _bytes_in_memory(file, names, total) <= stream_above
        rows = (_Rows if in_memory else _Described)(total, file, names)
    for part in parts:
        with opened(part) as file:
            rows.add(file, classes if whole else None)
    features, pixels = rows.held(parts)
    common = FeatureSet(
        features=np.empty((0, 0), np.float32),
        path=rows.path,
        label=rows.label,
        split=rows.split,
        sha256=rows.sha256,
        classes=classes,
        extraction=extraction,
        digest=digest,
        pixels=pixels,
        failures=rows.failures,
        name=Path(str(run.get("source", path))).name,
        model=str(run.get("model", "")),
        weights=str(run.get("weights", "")),
        source=str(run.get("source", "")),
        run=dict(run),
    )
    return [
        dataclasses.replace(
            common, features=features[name], extraction=told, digest=digest_of(told)
        )
        for name, told in chosen
    ]


def _bytes_in_memory(file: h5py.File, names: Sequence[str], rows: int) -> int:
    """Return what features, as float32, and miniatures of so many rows take."""
    pixels = int(np.prod(file["pixels"].shape[1:])) if "pixels" in file else 0
    return int(rows * (4 * sum(file[name].shape[1] for name in names) + pixels))


class _Described:
    """What a store's files say of the rows, one file's after the other's; the rest stays there.

    Args:
        total: rows in all.
        file: the first of the files, open.
        names: datasets of the wanted features.
    """

    def __init__(self, total: int, file: h5py.File, names: Sequence[str]) -> None:
        self.label = np.empty(total, np.int32)
        self.sha256 = np.empty((total, 32), np.uint8)
        self.path: list[str] = []
        self.split: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self._widths = {name: int(file[name].shape[1]) for name in names}
        self._pixels: tuple[int, ...] | None = None
        if "pixels" in file:
            self._pixels = file["pixels"].shape[1:]
        self._counts: list[int] = []

    def add(self, file: h5py.File, classes: Sequence[str] | None) -> slice:
        """Add all rows of a file, and return which they are among all of them.

        Its labels become codes into ``classes``, if any are given.
        """
        start = len(self.path)
        self.path += texts(file["path"])
        self.split += map(sys.intern, texts(file["split"]))
        self.failures += read_failures(file)
        rows = slice(start, len(self.path))
        label = file["label"][:]
        if classes is not None:
            code = {name: at for at, name in enumerate(classes)}
            # Label -1, unknown, is the last place of the table.
            label = np.array([*(code[name] for name in read_classes(file)), -1], np.int32)[label]
        self.label[rows] = label
        self.sha256[rows] = file["sha256"][:]
        self._counts.append(rows.stop - start)
        if "pixels" not in file:
            self._pixels = None
        return rows

    def held(self, files: Sequence[Path]) -> tuple[dict[str, Features], Pixels | None]:
        """Return the features by dataset, and the miniatures if all files have them."""
        pixels = None
        if self._pixels is not None:
            pixels = RowsOnDisk(files, self._counts, "pixels", self._pixels, np.uint8)
        return {
            name: RowsOnDisk(files, self._counts, name, (width,), np.float32)
            for name, width in self._widths.items()
        }, pixels


class _Rows(_Described):
    """The same, with features and miniatures in arrays of their final size."""

    def __init__(self, total: int, file: h5py.File, names: Sequence[str]) -> None:
        super().__init__(total, file, names)
        self._features: dict[str, Features] = {
            name: np.empty((total, width), np.float32) for name, width in self._widths.items()
        }
        self._miniatures = None
        if self._pixels is not None:
            self._miniatures = np.empty((total, *self._pixels), np.uint8)

    def add(self, file: h5py.File, classes: Sequence[str] | None) -> slice:
        """Add all rows of a file; see `_Described.add`."""
        rows = super().add(file, classes)
        if self._miniatures is not None and self._pixels is not None:
            self._miniatures[rows] = file["pixels"][:]
        else:
            self._miniatures = None
        for name, features in self._features.items():
            _read_features(file[name], features[rows])
        return rows

    def held(self, files: Sequence[Path]) -> tuple[dict[str, Features], Pixels | None]:
        """Return what was read."""
        return self._features, self._miniatures


def only_column(path: Path, file: h5py.File, layer: str = "") -> str:
    """Return the dataset of the features of one layer.

    Args:
        path: the store, sound.
        file: one of its files, open.
        layer: which of its layers; empty means its only one.

    Raises:
        StoreError: it holds several layers, or not this one.
    """
    chosen = _chosen(path, file, document(file, "extraction"), [layer] if layer else [])
    _check_single(path, [told["backbone"]["layer"] for _, told in chosen])
    return chosen[0][0]


def _check_single(path: Path, layers: Sequence[str]) -> None:
    if len(layers) > 1:
        told = one_line(", ".join(layers))
        raise StoreError(f"{one_line(path)} holds several layers; choose one of: {told}")


def _chosen(
    path: Path, file: h5py.File, extraction: dict[str, Any], layers: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the wanted layers' datasets, each with the extraction of that layer alone."""
    backbone = described(extraction)
    assert backbone is not None  # the store is sound
    held = {backbone.layer: ("features", extraction)}
    if backbone.parts:
        names = layer_columns(file)
        alone = backbone.alone()
        held = {
            one.layer: (name, json.loads(json.dumps(Extraction(one).to_json())))
            for name, one in zip(names, alone, strict=True)
        }
    for layer in layers:
        if layer not in held:
            raise StoreError(
                f"{one_line(path)} holds no layer {one_line(layer)!r}; "
                f"{near_matches(layer, held)}it holds: {one_line(', '.join(held))}"
            )
    return [held[layer] for layer in layers or held]


class Origin(NamedTuple):
    """Where a store's features come from.

    Attributes:
        backbone: the backbone's description in the extraction.
        model: the ONNX file that was used; it may be gone by now.
        weights: the user's own weights file that was exported then; empty if none was given.
        certificate: the parity certificate that the file carried; empty if none was kept.
    """

    backbone: dict[str, Any]
    model: str
    weights: str
    certificate: str


def read_origin(path: str | os.PathLike[str]) -> Origin:
    """Return where the features of a sound store come from, without reading its rows.

    Raises:
        StoreError: it cannot be opened, or does not say.
    """
    path = Path(path)
    whole = manifest.of(path)
    if whole:
        model, weights = (str(whole.run.get(name, "")) for name in ("model", "weights"))
        return Origin(whole.extraction["backbone"], model, weights, whole.certificate)
    with opened(path) as file:
        run = document(file, "run")
        return Origin(
            document(file, "extraction")["backbone"],
            str(run.get("model", "")),
            str(run.get("weights", "")),
            text(file.attrs.get("certificate", "")),
        )


def _read_features(dataset: h5py.Dataset, out: NDArray[np.float32]) -> None:
    """Read all features as float32, block by block: no second copy is ever held."""
    for start in range(0, len(out), BLOCK):
        rows = np.s_[start : start + BLOCK]
        out[rows] = dataset[rows]
