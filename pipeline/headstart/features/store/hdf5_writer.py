"""Writing a whole store file: attributes, columns block by block, checksums, the seal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.datasets.images import MINIATURE
from headstart.features.store.layout import (
    CHECKED,
    FORMAT,
    TEXT,
    VERSION,
    Column,
    Layers,
    layer_columns,
    row_bytes,
    row_checks,
)
from headstart.features.store.safe_hdf5 import create
from headstart.features.store.seal import seal

Block = Mapping[str, NDArray[Any]]
"""Some rows: an array for each column, texts as objects."""


class Failure(NamedTuple):
    """One image that could not be embedded; ``sha256`` is empty if it could not be read."""

    path: str
    reason: str
    sha256: bytes


@dataclass(frozen=True)
class Head:
    """What a store says of itself.

    Attributes:
        extraction: the identity document of the features.
        digest: its hash.
        classes: class names; row labels index them.
        run: facts about the run that made it.
        certificate: the backbone's parity certificate; may be empty.
    """

    extraction: dict[str, Any]
    digest: str
    classes: Sequence[str]
    run: dict[str, Any]
    certificate: str


def write_file(
    path: Path,
    head: Head,
    shape: tuple[int, int],
    facts: Iterable[Block],
    features: Iterable[Block],
    failures: Sequence[Failure],
    columns: Sequence[str] = CHECKED,
) -> None:
    """Write a store file under a temporary name, sealed; flushing it is the caller's.

    What is small and says what the rows are comes first, so that a file that is cut short, by a
    copy that did not end, loses the features at its end and not all of them.

    Args:
        path: where to write; what is there is replaced.
        head: the attributes.
        shape: rows and features a row.
        facts: every row's path, label, split, sha256, size and mtime_ns, in order.
        features: every row's features and pixels, in order; never all of them in memory.
        failures: images that could not be embedded; paths as stores keep them.
        columns: which columns there are, besides the rows' checksums.

    Raises:
        OSError: it cannot be written; the file is worth nothing then.
    """

    def fill(file: h5py.File) -> None:
        _write_head(file, head)
        sums = _write_rows(file, shape, (facts, features), columns) | _write_failures(
            file, failures
        )
        sums["classes"] = _digest(np.array(head.classes, object))
        file.attrs["checksums"] = json.dumps(sums, sort_keys=True)

    create(path, fill)
    seal(path)


def _write_head(file: h5py.File, head: Head) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    file.attrs.create("classes", list(head.classes), shape=(len(head.classes),), dtype=TEXT)
    file.attrs["extraction"] = json.dumps(head.extraction, sort_keys=True)
    file.attrs["digest"] = head.digest
    file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    file.attrs["software"] = json.dumps(head.run.get("software", {}), sort_keys=True)
    file.attrs["run"] = json.dumps(head.run, sort_keys=True)
    file.attrs["certificate"] = head.certificate
    file.attrs["checksums"] = "{}"  # to have its place in front


def _write_rows(
    file: h5py.File,
    shape: tuple[int, int],
    passes: tuple[Iterable[Block], Iterable[Block]],
    columns: Sequence[str],
) -> dict[str, str]:
    n, dim = shape
    layers = layer_columns(file)
    kinds: dict[str, tuple[tuple[int, ...], Any]] = {
        "path": ((), TEXT),
        "label": ((), "<i4"),
        "split": ((), TEXT),
        "sha256": ((32,), "u1"),
        "size": ((), "<i8"),
        "mtime_ns": ((), "<i8"),
        "features": ((dim,), "<f4"),
        "pixels": ((MINIATURE, MINIATURE, 3), "u1"),
    }
    datasets: dict[str, Column] = {}
    for name in [name for name in kinds if name in columns]:
        tail, kind = kinds[name]
        if name == "features" and layers:
            datasets[name] = Layers(
                [file.create_dataset(layer, (n, width), kind) for layer, width in layers.items()]
            )
        else:
            datasets[name] = file.create_dataset(name, (n, *tail), kind)
    checks = np.zeros((n, len(CHECKED)), "<u4")
    held = file.create_dataset("checks", checks.shape, checks.dtype)
    file.flush()  # gives HDF5's bookkeeping its place, in front of the data
    sums = {name: hashlib.sha256() for name in datasets}
    for blocks in passes:
        start = 0
        for block in blocks:
            stop = start + len(next(iter(block.values())))
            for name in [name for name in datasets if name in block]:
                datasets[name][start:stop] = block[name]
                checks[start:stop, CHECKED.index(name)] = row_checks(block[name])
                sums[name].update(row_bytes(block[name]))
            start = stop
        held[...] = checks  # after the first pass to have its place, after the second to be true
    return {name: total.hexdigest() for name, total in sums.items()} | {"checks": _digest(checks)}


def _write_failures(file: h5py.File, failures: Sequence[Failure]) -> dict[str, str]:
    hashes = b"".join(f.sha256.ljust(32, b"\0") for f in failures)
    columns: dict[str, NDArray[Any]] = {
        "path": np.array([f.path for f in failures], object),
        "reason": np.array([f.reason for f in failures], object),
        "sha256": np.frombuffer(hashes, "u1").reshape(-1, 32),
    }
    for name, values in columns.items():
        kind = TEXT if values.dtype == object else values.dtype
        file.create_dataset(f"failures/{name}", data=values, dtype=kind)
    return {f"failures/{name}": _digest(values) for name, values in columns.items()}


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(row_bytes(values)).hexdigest()
