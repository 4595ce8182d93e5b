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

from pipeline.images import MINIATURE
from pipeline.store.layout import CHECKED, FORMAT, TEXT, VERSION, row_bytes, row_checks
from pipeline.store.seal import seal
from pipeline.store.sink import create

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
    blocks: Iterable[Block],
    failures: Sequence[Failure],
    columns: Sequence[str] = CHECKED,
) -> None:
    """Write a store file under a temporary name, sealed; flushing it is the caller's.

    Args:
        path: where to write; what is there is replaced.
        head: the attributes.
        shape: rows and features a row.
        blocks: the rows, in order; never all of them in memory.
        failures: images that could not be embedded; paths as stores keep them.
        columns: which columns there are, besides the rows' checksums.

    Raises:
        OSError: it cannot be written; the file is worth nothing then.
    """

    def fill(file: h5py.File) -> None:
        _write_head(file, head)
        sums = _write_rows(file, shape, blocks, columns) | _write_failures(file, failures)
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


def _write_rows(
    file: h5py.File, shape: tuple[int, int], blocks: Iterable[Block], columns: Sequence[str]
) -> dict[str, str]:
    n, dim = shape
    kinds: dict[str, tuple[tuple[int, ...], Any]] = {
        "features": ((dim,), "<f4"),
        "pixels": ((MINIATURE, MINIATURE, 3), "u1"),
        "path": ((), TEXT),
        "label": ((), "<i4"),
        "split": ((), TEXT),
        "sha256": ((32,), "u1"),
        "size": ((), "<i8"),
        "mtime_ns": ((), "<i8"),
        "checks": ((len(CHECKED),), "<u4"),
    }
    names = [name for name in kinds if name in columns or name == "checks"]
    datasets = {
        name: file.create_dataset(name, (n, *kinds[name][0]), kinds[name][1]) for name in names
    }
    sums = {name: hashlib.sha256() for name in names}
    start = 0
    for block in blocks:
        count = len(block["path"])
        checks = np.zeros((count, len(CHECKED)), np.uint32)
        for name in names:
            if name != "checks":
                checks[:, CHECKED.index(name)] = row_checks(block[name])
        for name in names:
            value = checks if name == "checks" else block[name]
            datasets[name][start : start + count] = value
            sums[name].update(row_bytes(value))
        start += count
    return {name: total.hexdigest() for name, total in sums.items()}


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
