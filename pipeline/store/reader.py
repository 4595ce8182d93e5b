"""Reading a feature store that anybody may have written: look first, then read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StoreError, one_line
from pipeline.records import FeatureSet
from pipeline.store.check import first_defect
from pipeline.store.layout import BLOCK, document, read_classes, read_failures, text, texts
from pipeline.store.opening import opened


def read(path: Path) -> FeatureSet:
    """Read a whole store into memory, once it is known to be sound.

    Data without a checksum are taken as they are: other tools may write stores too.

    Raises:
        StoreError: it is missing, no feature store, of a newer version, or damaged.
    """
    defect = first_defect(path)
    if defect:
        raise StoreError(f"{one_line(path)} cannot be used: {defect}; see: headstart verify")
    with opened(path) as file:
        run = document(file, "run")
        return FeatureSet(
            features=_read_features(file["features"]),
            path=list(texts(file["path"])),
            label=file["label"][:],
            split=list(texts(file["split"])),
            sha256=file["sha256"][:],
            classes=read_classes(file),
            extraction=document(file, "extraction"),
            digest=text(file.attrs["digest"]),
            pixels=file["pixels"][:] if "pixels" in file else None,
            failures=list(read_failures(file)),
            name=Path(str(run.get("source", path))).name,
            model=str(run.get("model", "")),
            weights=str(run.get("weights", "")),
            source=str(run.get("source", "")),
        )


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


def read_origin(path: Path) -> Origin:
    """Return where the features of a sound store come from, without reading its rows.

    Raises:
        StoreError: it cannot be opened, or does not say.
    """
    with opened(path) as file:
        run = document(file, "run")
        return Origin(
            document(file, "extraction")["backbone"],
            str(run.get("model", "")),
            str(run.get("weights", "")),
            text(file.attrs.get("certificate", "")),
        )


def _read_features(dataset: h5py.Dataset) -> NDArray[np.float32]:
    """Return all features as float32, read block by block: no second copy is ever held."""
    features = np.empty(dataset.shape, np.float32)
    for start in range(0, len(features), BLOCK):
        rows = np.s_[start : start + BLOCK]
        features[rows] = dataset[rows]
    return features
