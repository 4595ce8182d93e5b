"""Writing a whole store file: attributes, columns block by block, checksums, the seal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.targets import SINGLE_LABEL
from headstart.features.store import columns
from headstart.features.store.columns import CHECKS, FORMAT, Block, Column, Failure
from headstart.features.store.layout import (
    RECORDS,
    Dataset,
    Layers,
    layer_columns,
    record_checksum,
    row_bytes,
    row_checks,
)
from headstart.features.store.safe_hdf5 import create
from headstart.features.store.seal import seal


@dataclass(frozen=True)
class Head:
    """The attributes of a store.

    Attributes:
        extraction: the identity document of the features; ``digest`` is its hash.
        classes: class names; row labels index them.
        run: facts about the run that made it.
        certificate: the backbone's parity certificate; may be empty.
        target: the name of what is predicted, see `headstart.core.targets`.
        origins: whether an image has an origin.
    """

    extraction: dict[str, Any]
    digest: str
    classes: Sequence[str]
    run: dict[str, Any]
    certificate: str
    target: str = SINGLE_LABEL
    origins: bool = False

    @property
    def version(self) -> int:
        """The version of the store's format."""
        return columns.version_of(self.target, self.origins)


def write_file(
    path: Path,
    head: Head,
    shape: tuple[int, int],
    passes: Sequence[Iterable[Block]],
    failures: Sequence[Failure],
    absent: Collection[str] = (),
) -> None:
    """Write a store file under a temporary name, sealed; the caller flushes it.

    Small columns, which say what the rows are, come first: a file that was cut short loses the
    features at its end and not all of them.

    ``shape`` is the numbers of rows and of features. ``passes`` are two iterables over all rows in
    order: the columns from the listing, then those computed from the image. The file has no columns
    named in ``absent``.
    """

    def fill(file: h5py.File) -> None:
        _write_head(file, head)
        sums = _write_rows(file, head, shape, passes, absent) | _write_failures(file, failures)
        sums["classes"] = _digest(np.array(head.classes, object))
        sums |= {name: record_checksum(file, name) for name in RECORDS}
        file.attrs["checksums"] = json.dumps(sums, sort_keys=True)

    create(path, fill)
    seal(path)


def _write_head(file: h5py.File, head: Head) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["version"] = head.version
    if head.target != SINGLE_LABEL:
        file.attrs["target"] = head.target
    text = h5py.string_dtype("utf-8")
    file.attrs.create("classes", list(head.classes), shape=(len(head.classes),), dtype=text)
    file.attrs["extraction"] = json.dumps(head.extraction, sort_keys=True)
    file.attrs["digest"] = head.digest
    file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    file.attrs["software"] = json.dumps(head.run.get("software", {}), sort_keys=True)
    file.attrs["run"] = json.dumps(head.run, sort_keys=True)
    file.attrs["certificate"] = head.certificate
    file.attrs["checksums"] = "{}"  # reserves space at the front


def _write_rows(
    file: h5py.File,
    head: Head,
    shape: tuple[int, int],
    passes: Sequence[Iterable[Block]],
    absent: Collection[str],
) -> dict[str, str]:
    rows, version = shape[0], head.version
    of_class = (rows, len(head.classes))
    datasets = {
        column.name: _create(file, column, of_class if column.by_class else shape)
        for column in (*columns.from_listing(head.target, version), *columns.from_image())
        if column.name not in absent
    }
    column = columns.checks(version, head.target)
    checks = np.zeros(column.shape(rows), column.dtype)
    checks_dataset = file.create_dataset(CHECKS, checks.shape, checks.dtype)
    file.flush()  # allocates HDF5's own structures in front of the data
    order = {
        column.name: number
        for number, column in enumerate(columns.of_version(version, head.target))
    }
    sums = {name: hashlib.sha256() for name in datasets}
    for blocks in passes:
        start = 0
        for block in blocks:
            stop = start + len(next(iter(block.values())))
            for name in [name for name in datasets if name in block]:
                datasets[name][start:stop] = block[name]
                checks[start:stop, order[name]] = row_checks(block[name])
                sums[name].update(row_bytes(block[name]))
            start = stop
        # The first pass allocates its space, the second writes its final values.
        checks_dataset[...] = checks
    return {name: total.hexdigest() for name, total in sums.items()} | {CHECKS: _digest(checks)}


def _create(file: h5py.File, column: Column, shape: tuple[int, int]) -> Dataset:
    rows, dim = shape
    layers = layer_columns(file) if column.name == "features" else {}
    if not layers:
        return file.create_dataset(column.name, column.shape(rows, dim), column.dtype)
    return Layers(
        [file.create_dataset(name, (rows, width), column.dtype) for name, width in layers.items()]
    )


def _write_failures(file: h5py.File, failures: Sequence[Failure]) -> dict[str, str]:
    block = columns.failures_block(failures)
    for column in columns.FAILURES:
        file.create_dataset(f"failures/{column.name}", data=block[column.name], dtype=column.dtype)
    return {f"failures/{name}": _digest(values) for name, values in block.items()}


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(row_bytes(values)).hexdigest()
