"""An index of the features in a folder's files, by content, so that none are computed twice.

It helps a run that divides a listing anew, or finds a file in another class than before. The index
is two arrays beside the store, for the time of a run: sorted content hashes, and where their rows
are. Workers map them into memory.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.files import cannot_write, replacing
from headstart.features.store import columns
from headstart.features.store.columns import HASH_BYTES
from headstart.features.store.layout import column as dataset
from headstart.features.store.opening import OpenFiles, opened

_HASHES, _PLACES, _FILES = "hashes.npy", "places.npy", "files.json"
_HASH = f"S{HASH_BYTES}"


def write_contents(folder: Path, files: Sequence[Path]) -> None:
    """Index the rows of sound store files of one folder; the index goes into ``folder``."""
    hashes, places = [np.empty(0, _HASH)], [np.empty((0, 2), np.int64)]
    for number, path in enumerate(files):
        with opened(path) as file:
            if not all(column.name in file for column in columns.from_image()):
                continue
            stored = np.ascontiguousarray(file["sha256"][:])
        hashes.append(stored.view(_HASH)[:, 0])
        rows = np.arange(len(stored))
        places.append(np.stack([np.full_like(rows, number), rows], axis=1))
    order = np.argsort(np.concatenate(hashes), kind="stable")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in ((_HASHES, hashes), (_PLACES, places)):
            with replacing(folder / name) as partial, partial.open("wb") as file:
                np.save(file, np.concatenate(values)[order])
        with replacing(folder / _FILES) as partial:
            partial.write_text(json.dumps([path.name for path in files]))
    except OSError as error:
        raise cannot_write(folder, error) from error


class Contents:
    """The index that `write_contents` put into ``folder``, of files in ``root``; thread-safe."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._reading = threading.Lock()
        self._hashes = np.load(folder / _HASHES, mmap_mode="r")
        self._places = np.load(folder / _PLACES, mmap_mode="r")
        names = json.loads((folder / _FILES).read_text())
        self._files = OpenFiles([root / name for name in names])
        self._kinds = {column.name: column.dtype for column in columns.from_image()}

    def find(self, sha256: bytes) -> dict[str, NDArray[Any]] | None:
        """Return the computed columns of a content, or None if no file has it."""
        key = np.array([sha256], _HASH)
        index = int(np.searchsorted(self._hashes, key)[0])
        if index == len(self._hashes) or self._hashes[index] != key[0]:
            return None
        number, row = self._places[index].tolist()
        with self._reading:
            file = self._files[number]
            return {
                name: dataset(file, name)[row].astype(kind, copy=False)
                for name, kind in self._kinds.items()
            }

    def close(self) -> None:
        """Close the files."""
        self._files.close()
