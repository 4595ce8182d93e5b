"""Reading a feature store some rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.features.store.check import first_defect
from headstart.features.store.layout import BLOCK, read_classes, text
from headstart.features.store.manifest import files
from headstart.features.store.opening import opened
from headstart.features.store.reader import only_column


class Block(NamedTuple):
    """Rows that follow one another.

    Attributes:
        path: names of images.
        label: class names; empty where unknown.
        split: names of splits.
        features: ``(b, d) float32``.
    """

    path: list[str]
    label: list[str]
    split: list[str]
    features: NDArray[np.float32]


def read_size(path: str | os.PathLike[str], layer: str = "") -> tuple[int, int]:
    """Return how many rows a store has, and features a row, once it is known to be sound.

    Args:
        path: the store.
        layer: which of its layers; empty means its only one.

    Raises:
        StoreError: it is missing, no feature store, of a newer version, or damaged; or it holds
            several layers, or not this one.
    """
    path = Path(path)
    defect = first_defect(path)
    if defect:
        raise StoreError(f"{one_line(path)} cannot be used: {defect}; see: headstart verify")
    rows, dim = 0, 0
    for part in files(path):
        with opened(part) as file:
            count, dim = file[only_column(path, file, layer)].shape
        rows += int(count)
    return rows, int(dim)


def read_blocks(path: str | os.PathLike[str], layer: str = "") -> Iterator[Block]:
    """Yield the rows of a store that `read_size` has found sound.

    Args:
        path: the store.
        layer: as there.

    Raises:
        StoreError: it cannot be read.
    """
    path = Path(path)
    for part in files(path):
        with opened(part) as file:
            yield from _blocks(file, only_column(path, file, layer))


def _blocks(file: h5py.File, name: str) -> Iterator[Block]:
    classes = read_classes(file)
    for start in range(0, len(file[name]), BLOCK):
        rows = np.s_[start : start + BLOCK]
        yield Block(
            list(map(text, file["path"][rows])),
            [classes[code] if code >= 0 else "" for code in file["label"][rows].tolist()],
            list(map(text, file["split"][rows])),
            file[name][rows].astype(np.float32),
        )
