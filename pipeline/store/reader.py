"""Reading a feature store that anybody may have written: look first, then read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StoreError, one_line
from pipeline.images import MINIATURE
from pipeline.records import SPLITS, Backbone, FeatureSet, digest_of

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
    """Read a whole store into memory, once it is known to be sound.

    Data without a checksum are taken as they are: other tools may write stores too.

    Raises:
        StoreError: it is missing, no feature store, of a newer version, or damaged.
    """
    with opened(path) as file:
        defect = next(_defects(file), None)
        if defect:
            raise StoreError(f"{one_line(path)} cannot be used: {defect}")
        pixels = file["pixels"][:] if "pixels" in file else None
        run = _document(file, "run")
        return FeatureSet(
            features=file["features"][:].astype(np.float32, copy=False),
            path=texts(file["path"]),
            label=file["label"][:],
            split=texts(file["split"]),
            sha256=file["sha256"][:],
            classes=read_classes(file),
            extraction=_document(file, "extraction"),
            digest=text(file.attrs["digest"]),
            pixels=pixels,
            failures=read_failures(file),
            name=Path(str(run.get("source", path))).name,
            model=str(run.get("model", "")),
            weights=str(run.get("weights", "")),
        )


def verify(path: Path) -> list[str]:
    """Check a store completely and name every defect; an empty list means that it is sound.

    Raises:
        StoreError: it cannot be opened at all.
    """
    with opened(path) as file:
        defects = list(_defects(file))
        if not defects:
            sums = _document(file, "checksums")
            defects = [f"{name} has no checksum" for name in _summed(file) if name not in sums]
    return defects


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
        run = _document(file, "run")
        return Origin(
            _document(file, "extraction")["backbone"],
            str(run.get("model", "")),
            str(run.get("weights", "")),
            text(file.attrs.get("certificate", "")),
        )


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a store for reading; what HDF5 says of a damaged file becomes one line.

    Raises:
        StoreError: it is missing, is no HDF5 file, or reading fails on the way.
    """
    try:
        if not path.is_file():
            raise StoreError(
                f"no feature store at {one_line(path)}; make one with: headstart features"
            )
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"{one_line(path)} is no readable feature store: {one_line(error)}"
        ) from error


def texts(dataset: h5py.Dataset) -> list[str]:
    """Return a text dataset as strings."""
    return [text(value) for value in dataset[:]]


def text(value: object) -> str:
    """Return a text that HDF5 holds as a string; bytes that are not UTF-8 are escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def read_classes(file: h5py.File) -> tuple[str, ...]:
    """Return the class names."""
    return tuple(text(name) for name in file.attrs["classes"])


def read_failures(file: h5py.File) -> list[tuple[str, str]]:
    """Return ``(path, reason)`` of the images that could not be embedded."""
    if "failures" not in file:
        return []
    group = file["failures"]
    return list(zip(texts(group["path"]), texts(group["reason"]), strict=True))


def row_bytes(rows: NDArray[Any]) -> bytes:
    """Return the bytes that a checksum hashes: little-endian numbers, or texts with NULs."""
    if rows.dtype == object:
        return b"".join((v if isinstance(v, bytes) else v.encode()) + b"\0" for v in rows)
    return np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes()


def _defects(file: h5py.File) -> Iterator[str]:
    # Content is read only where the layout is sound.
    yield from list(_layout_defects(file)) or _content_defects(file)


def _layout_defects(file: h5py.File) -> Iterator[str]:
    if text(file.attrs.get("format", "")) != FORMAT:
        yield "it is an HDF5 file, but no feature store (attribute format is missing or different)"
        return
    version = text(file.attrs.get("version"))
    if version != str(VERSION):
        yield f"its format has version {one_line(version)}; this Headstart reads version {VERSION}"
        return
    yield from _attribute_defects(file)
    yield from _group_defects(file, COLUMNS, REQUIRED, "")
    if "failures" in file:
        if not isinstance(file.get("failures", getlink=True), h5py.HardLink):
            yield "failures is a link to elsewhere"
        elif not isinstance(file["failures"], h5py.Group):
            yield "failures is no group"
        else:
            yield from _group_defects(file["failures"], FAILURES, ("path", "reason"), "failures/")


def _attribute_defects(file: h5py.File) -> Iterator[str]:
    for name in ("classes", "extraction", "digest"):
        if name not in file.attrs:
            yield f"attribute {name} is missing"
    if "classes" in file.attrs and not _is_list_of_texts(file.attrs.get_id("classes")):
        yield "attribute classes is no list of texts"
    for name in ("extraction", "checksums", "run"):
        if name in file.attrs and not _is_json_object(file.attrs[name]):
            yield f"attribute {name} is no JSON object"


def _is_list_of_texts(attribute: h5py.h5a.AttrID) -> bool:
    return len(attribute.shape) == 1 and h5py.check_string_dtype(attribute.dtype) is not None


def _is_json_object(value: object) -> bool:
    try:
        return isinstance(json.loads(text(value)), dict)
    except ValueError:
        return False


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
    shape = dataset.shape  # None: a dataset without any
    fits = (
        shape is not None
        and len(shape) == 1 + len(tail)
        and all(want in (None, have) for want, have in zip(tail, shape[1:], strict=True))
    )
    if not fits:
        return f"has shape {shape}"
    # Stores are not compressed: a shape that the file cannot hold was never written.
    held = min(dataset.id.get_storage_size(), Path(dataset.file.filename).stat().st_size)
    if held < dataset.size * dataset.dtype.itemsize:
        return f"has shape {shape}, but the file holds less"
    return None


def _content_defects(file: h5py.File) -> Iterator[str]:
    yield from _identity_defects(file)
    yield from _checksum_defects(file)
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
    extraction = _document(file, "extraction")
    if digest_of(extraction) != text(file.attrs["digest"]):
        yield "attribute digest does not belong to attribute extraction"
    try:
        dim = Backbone.from_json(extraction["backbone"]).dim
    except (KeyError, TypeError, ValueError):
        yield "attribute extraction describes no backbone"
        return
    if dim != file["features"].shape[1]:
        yield f"features has shape {file['features'].shape}, but the backbone gives {dim} a row"


def _checksum_defects(file: h5py.File) -> Iterator[str]:
    expected = _document(file, "checksums")
    for name, blocks in _summed(file).items():
        if name in expected:
            total = hashlib.sha256()
            for block in blocks:
                total.update(row_bytes(block))
            if total.hexdigest() != expected[name]:
                yield f"the data of {name} do not match their checksum"


def _summed(file: h5py.File) -> dict[str, Iterator[NDArray[Any]]]:
    """Return, by name, the blocks of everything that has a checksum."""
    names = [name for name in COLUMNS if name in file]
    names += [f"failures/{name}" for name in FAILURES if f"failures/{name}" in file]
    classes = np.array(read_classes(file), object)
    return {"classes": iter([classes])} | {name: _blocks(file[name]) for name in names}


def _blocks(dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    for start in range(0, len(dataset), BLOCK):
        yield dataset[start : start + BLOCK]


def _document(file: h5py.File, name: str) -> dict[str, Any]:
    """Return a JSON attribute; an absent one is empty."""
    return dict(json.loads(text(file.attrs.get(name, "{}"))))
