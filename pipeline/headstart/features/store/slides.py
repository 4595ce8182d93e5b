"""Features of whole slides in HDF5 files, as CLAM and TRIDENT write them: one file a slide.

CLAM (Lu et al., Nature Biomedical Engineering 2021) writes ``features``, ``(n, d)``, one row a
patch, and ``coords``, ``(n, 2)``. TRIDENT (Zhang et al., 2025) does, too, with the slide's name and
the encoder's as attributes of ``features``; its slide encoders write ``(d,)``, and some programs
``(1, n, d)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.features.store.columns import FORMAT
from headstart.features.store.layout import text

SUFFIXES = (".h5", ".hdf5")
FEATURES, COORDS = "features", "coords"


@dataclass(frozen=True)
class SlideFile:
    """The content of an HDF5 file of features.

    Attributes:
        features: ``(n, d)`` in the file's own type.
        coords: ``(n, 2)`` places of the patches; None if the file has none.
        encoder: the network that computed them; empty if the file does not say.
        columns: other data sets of up to two axes, and attributes that name classes.
        is_slide: whether the rows are parts of one slide.
    """

    features: NDArray[Any]
    coords: NDArray[Any] | None
    encoder: str
    columns: Mapping[str, NDArray[Any]]
    is_slide: bool


def read(path: Path, key: str = "") -> SlideFile:
    """Read an HDF5 file of features; ``key`` names another data set than ``features``.

    Raises:
        InputError: the file cannot be read, is a feature store, or has no such data set.
    """
    shown, name = one_line(path), key or FEATURES
    try:
        with h5py.File(path, "r", locking=False) as file:
            if text(file.attrs.get("format", "")) == FORMAT:
                raise InputError(f"{shown} is a feature store; use it with train-heads as it is")
            if not isinstance(file.get(name), h5py.Dataset):
                raise InputError(
                    f"{shown} has no data set {one_line(name)}; name it with --features NAME; it "
                    f"has: {one_line(', '.join(file)) or 'none'}"
                )
            return _content(file, name)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"cannot read {shown}: {one_line(error)}") from error


def _content(file: h5py.File, name: str) -> SlideFile:
    dataset = file[name]
    values = np.asarray(dataset[...])
    slide_vector = values.ndim == 1
    values = values[np.newaxis] if slide_vector else values
    values = values[0] if values.ndim > 2 and len(values) == 1 else values
    coords = np.asarray(file[COORDS][...]) if COORDS in file else None
    if coords is not None:
        coords = coords[0] if coords.ndim > 2 and len(coords) == 1 else coords
        coords = coords if len(coords) == len(values) else None
    others = {
        key: np.asarray(other[...])
        for key, other in file.items()
        if key not in (name, COORDS) and isinstance(other, h5py.Dataset) and other.ndim <= 2
    }
    others |= {
        key: np.asarray(file.attrs[key]).ravel()
        for key in ("classes", "class_names")
        if key in file.attrs
    }
    encoder = text(dataset.attrs.get("encoder", ""))
    is_slide = slide_vector or COORDS in file
    return SlideFile(values, coords, encoder, others, is_slide)
