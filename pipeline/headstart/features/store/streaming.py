"""Reading a feature store in blocks of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.features.store.layout import BLOCK, read_classes, text
from headstart.features.store.manifest import files
from headstart.features.store.opening import opened
from headstart.features.store.reader import only_column, refuse_defects


class Block(NamedTuple):
    """Consecutive rows; ``label`` has class names, and ``features`` is ``(b, d) float32``."""

    path: list[str]
    label: list[str]
    split: list[str]
    features: NDArray[np.float32]


def read_size(path: str | os.PathLike[str], layer: str = "") -> tuple[int, int]:
    """Check a store, as `reader.read` does, and return its numbers of rows and of features."""
    path = Path(path)
    refuse_defects(path)
    rows, dim = 0, 0
    for part in files(path):
        with opened(part) as file:
            count, dim = file[only_column(path, file, layer)].shape
        rows += int(count)
    return rows, int(dim)


def read_blocks(path: str | os.PathLike[str], layer: str = "") -> Iterator[Block]:
    """Yield the rows of a store that `read_size` has checked."""
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
