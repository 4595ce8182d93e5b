"""Reading a feature store that anybody may have written: look first, then read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StoreError, one_line
from pipeline.images import MINIATURE
from pipeline.records import SPLITS, FeatureSet, digest_of

FORMAT = "headstart-features"
VERSION = 1
BLOCK = 1024  # rows handled at once; bounds memory

# Each dataset's shape after the row axis (None: any one length) and its kinds of numpy type.
COLUMNS: dict[str, tuple[tuple[int | None, ...], tuple[str, ...]]] = {
    "features": ((None,), ("f4", "f2")),
    "path": ((), ("text",)),
    "label": ((), ("i4",)),
    "split": ((), ("text",)),
    "sha256": ((32,), ("u1",)),
    "size": ((), ("i8",)),
    "mtime_ns": ((), ("i8",)),
    "pixels": ((MINIATURE, MINIATURE, 3), ("u1",)),
}
REQUIRED = ("features", "path", "label", "split", "sha256")
FAILURES: dict[str, tuple[tuple[int | None, ...], tuple[str, ...]]] = {
    "path": ((), ("text",)),
    "reason": ((), ("text",)),
    "sha256": ((32,), ("u1",)),
}


def read(path: Path) -> FeatureSet:
    """Read a whole store into memory.

    Raises:
        StoreError: it is missing, no feature store, of a newer version, or damaged.
    """
    with opened(path) as file:
        defects = list(_layout_defects(file))
        if defects:
            raise StoreError(f"{one_line(path)} cannot be used: {defects[0]}")
        pixels = file["pixels"][:] if "pixels" in file else None
        run = json.loads(file.attrs.get("run", "{}"))
        data = FeatureSet(
            features=file["features"][:].astype(np.float32, copy=False),
            path=texts(file["path"]),
            label=file["label"][:],
            split=texts(file["split"]),
            sha256=file["sha256"][:],
            classes=tuple(_text(name) for name in file.attrs["classes"]),
            extraction=json.loads(file.attrs["extraction"]),
            digest=_text(file.attrs["digest"]),
            pixels=pixels,
            failures=read_failures(file),
            name=Path(str(run.get("source", path))).name,
            model=str(run.get("model", "")),
        )
    if data.label.size and not -1 <= data.label.min() <= data.label.max() < len(data.classes):
        raise StoreError(f"{one_line(path)} cannot be used: a label code has no class")
    return data


def verify(path: Path) -> list[str]:
    """Check a store completely and name every defect; an empty list means that it is sound.

    Raises:
        StoreError: it cannot be opened at all.
    """
    with opened(path) as file:
        defects = list(_layout_defects(file))
        if not defects:
            defects = list(_content_defects(file))
    return defects


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a store for reading; what HDF5 says of a damaged file becomes one line.

    Raises:
        StoreError: it is missing, is no HDF5 file, or reading fails on the way.
    """
    if not path.is_file():
        raise StoreError(f"no feature store at {one_line(path)}; make one with: headstart features")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"{one_line(path)} is no readable feature store: {one_line(error)}"
        ) from error


def texts(dataset: h5py.Dataset) -> list[str]:
    """Return a text dataset as strings."""
    return [_text(value) for value in dataset[:]]


def read_failures(file: h5py.File) -> list[tuple[str, str]]:
    """Return ``(path, reason)`` of the images that could not be embedded."""
    if "failures" not in file:
        return []
    group = file["failures"]
    return list(zip(texts(group["path"]), texts(group["reason"]), strict=True))


def digest_blocks(dataset: h5py.Dataset) -> str:
    """Return the SHA-256 of a dataset's rows, read in blocks; texts end with a NUL byte each."""
    total = hashlib.sha256()
    for start in range(0, len(dataset), BLOCK):
        total.update(row_bytes(dataset[start : start + BLOCK]))
    return total.hexdigest()


def row_bytes(rows: NDArray[Any]) -> bytes:
    """Return the bytes that `digest_blocks` hashes: little-endian numbers, or texts with NULs."""
    if rows.dtype == object:
        return b"".join((v if isinstance(v, bytes) else v.encode()) + b"\0" for v in rows)
    return np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes()


def _layout_defects(file: h5py.File) -> Iterator[str]:
    if _text(file.attrs.get("format", "")) != FORMAT:
        yield "it is an HDF5 file, but no feature store (attribute format is missing or different)"
        return
    version = int(file.attrs.get("version", 0))
    if version != VERSION:
        yield f"its format has version {version}; this Headstart reads version {VERSION}"
        return
    for name in ("classes", "extraction", "digest"):
        if name not in file.attrs:
            yield f"attribute {name} is missing"
    yield from _group_defects(file, COLUMNS, REQUIRED, "")
    if "failures" in file:
        if not isinstance(file.get("failures", getlink=True), h5py.HardLink):
            yield "failures is a link to elsewhere"
        elif not isinstance(file["failures"], h5py.Group):
            yield "failures is no group"
        else:
            yield from _group_defects(file["failures"], FAILURES, ("path", "reason"), "failures/")


def _group_defects(
    group: h5py.Group,
    columns: dict[str, tuple[tuple[int | None, ...], tuple[str, ...]]],
    required: tuple[str, ...],
    prefix: str,
) -> Iterator[str]:
    lengths: dict[str, int] = {}
    for name, (tail, kinds) in columns.items():
        if name not in group:
            if name in required:
                yield f"dataset {prefix}{name} is missing"
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield f"{prefix}{name} is a link to elsewhere"
            continue
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset):
            yield f"{prefix}{name} is no dataset"
            continue
        defect = _dataset_defect(dataset, tail, kinds)
        if defect:
            yield f"{prefix}{name} {defect}"
        else:
            lengths[name] = len(dataset)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{prefix}{name} {length}" for name, length in lengths.items())
        yield f"the datasets differ in length ({told})"


def _dataset_defect(
    dataset: h5py.Dataset, tail: tuple[int | None, ...], kinds: tuple[str, ...]
) -> str | None:
    if dataset.is_virtual or dataset.external:
        return "keeps its data in other files"
    kind = "text" if h5py.check_string_dtype(dataset.dtype) else dataset.dtype.str[1:]
    if kind not in kinds:
        return f"has type {dataset.dtype}, not {' or '.join(kinds)}"
    shape = dataset.shape
    fits = len(shape) == 1 + len(tail) and all(
        want in (None, have) for want, have in zip(tail, shape[1:], strict=True)
    )
    if not fits:
        return f"has shape {shape}"
    # Stores are not compressed: a shape that the file cannot hold was never written.
    if dataset.id.get_storage_size() < dataset.size * dataset.dtype.itemsize:
        return f"has shape {shape}, but the file holds less"
    return None


def _content_defects(file: h5py.File) -> Iterator[str]:
    yield from _identity_defects(file)
    features = file["features"]
    for start in range(0, len(features), BLOCK):
        finite = np.isfinite(features[start : start + BLOCK]).all(axis=1)
        for row in np.flatnonzero(~finite).tolist():
            yield f"row {start + row} has features that are not finite"
    label, classes = file["label"][:], len(file.attrs["classes"])
    for row in np.flatnonzero((label < -1) | (label >= classes)).tolist():
        yield f"row {row} has label code {int(label[row])}, but there are {classes} classes"
    for row, split in enumerate(texts(file["split"])):
        if split not in SPLITS:
            yield f"row {row} has the unknown split {one_line(split)!r}"
    seen: set[str] = set()
    for row, name in enumerate(texts(file["path"])):
        if name in seen:
            yield f"row {row} repeats the path {one_line(name)}"
        seen.add(name)


def _identity_defects(file: h5py.File) -> Iterator[str]:
    try:
        extraction = json.loads(file.attrs["extraction"])
        checksums = json.loads(file.attrs.get("checksums", "{}"))
    except ValueError as error:
        yield f"attribute extraction or checksums is no JSON ({one_line(error)})"
        return
    if digest_of(extraction) != _text(file.attrs["digest"]):
        yield "attribute digest does not belong to attribute extraction"
    if not checksums:
        yield "it holds no checksums"
    for name, expected in checksums.items():
        if name in COLUMNS and name in file and digest_blocks(file[name]) != expected:
            yield f"the data of {name} do not match their checksum"


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
