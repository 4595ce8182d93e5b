"""Checking a store: are its attributes true, and can its rows be used?

Another process reads a file without an intact seal (`core.sandbox`), so damage cannot stop or crash
this one. A seal is no signature: it shows damage, not who wrote the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core import sandbox
from headstart.core.errors import one_line
from headstart.core.records import SPLITS, digest_of
from headstart.features.store import columns, layout
from headstart.features.store.columns import CHECKS, FAILURES
from headstart.features.store.index import HashIndex
from headstart.features.store.manifest import Manifest, Shard, is_folder
from headstart.features.store.manifest import read as read_manifest
from headstart.features.store.opening import opened, seal_of
from headstart.features.store.seal import Seal, recorded_hash

BROKEN = "the file changed after it was written (its seal is broken)"
PATH_HASH = 16
_ROWS_NAMED = 10  # of those that do not match their checksum


def verify(path: str | os.PathLike[str]) -> list[str]:
    """Check a store completely and return every defect; an empty list means that it is sound.

    Raises:
        StoreError: it cannot be opened at all.
    """
    path = Path(path)
    if is_folder(path):
        return list(_folder_defects(path, _file_defects))
    return _file_defects(path)


def _file_defects(path: Path) -> list[str]:
    seal = seal_of(path)
    if seal is Seal.WHOLE:
        return inspect(path)
    defects = [str(defect) for defect in sandbox.call(f"{__name__}:inspect", path)]
    return [BROKEN, *defects] if seal is Seal.BROKEN else defects


def inspect(path: Path) -> list[str]:
    """Do what `verify` does, except for the seal, in this process."""
    with opened(path) as file:
        defects = list(_defects(file))
        if not defects:
            sums = layout.document(file, "checksums")
            defects = [f"{name} has no checksum" for name in _summed(file) if name not in sums]
    return defects


def first_defect(path: Path) -> str | None:
    """Return why a store cannot be used, or None.

    Where the seal is intact, only the values are checked. Data without a checksum are accepted:
    other tools may write stores too.
    """
    if is_folder(path):
        return next(_folder_defects(path, lambda file: filter(None, [first_defect(file)])), None)
    seal = seal_of(path)
    if seal is Seal.BROKEN:
        return BROKEN
    if seal is Seal.ABSENT:
        defect = sandbox.call(f"{__name__}:first_unsealed_defect", path)
        return None if defect is None else str(defect)
    with opened(path) as file:
        return next(_defects(file, checksums=False), None)


def _folder_defects(folder: Path, file_defects: Callable[[Path], Iterable[str]]) -> Iterator[str]:
    """Yield the defects of each file of a folder, and where the files disagree."""
    manifest = read_manifest(folder)
    if digest_of(manifest.extraction) != manifest.digest:
        yield "the manifest's digest does not belong to its extraction"
    seen = HashIndex(PATH_HASH)
    for shard in manifest.shards:
        path, name = folder / shard.file, one_line(shard.file)
        if not path.is_file() or path.is_symlink():
            yield f"{name} is missing"
            continue
        if recorded_hash(path) != shard.seal:
            yield f"{name} is not the file that the manifest names (it has another seal)"
            continue
        defects = list(file_defects(path))
        yield from (f"{name}: {defect}" for defect in defects)
        if not defects:
            yield from (f"{name}: {defect}" for defect in _misfits(path, manifest, shard, seen))


def _misfits(path: Path, manifest: Manifest, shard: Shard, seen: HashIndex) -> Iterator[str]:
    with opened(path) as file:
        if layout.text(file.attrs["digest"]) != manifest.digest:
            yield "its backbone or preprocessing is not the folder's"
        if layout.read_target(file) != manifest.target:
            yield f"it is {layout.read_target(file)}, the manifest {manifest.target}"
        if strange := set(layout.read_classes(file)) - set(manifest.classes):
            yield f"it has the class {one_line(min(strange))!r}, which the manifest does not list"
        if len(file["path"]) != shard.rows:
            yield f"it has {len(file['path'])} rows, the manifest says {shard.rows}"
        yield from (f"{repeated} of another shard" for repeated in _repeated(file, seen))


def first_unsealed_defect(path: Path) -> str | None:
    """Return the first defect of a store without a seal, in this process."""
    with opened(path) as file:
        return next(_defects(file), None)


def _defects(file: h5py.File, *, checksums: bool = True) -> Iterator[str]:
    # Content is read only where the layout is sound.
    yield from list(layout.layout_defects(file)) or _content_defects(file, checksums)


def _content_defects(file: h5py.File, checksums: bool) -> Iterator[str]:
    yield from _identity_defects(file)
    if checksums:
        yield from _checksum_defects(file)
    for number, block in enumerate(layout.blocks(layout.column(file, "features"))):
        for row in np.flatnonzero(~np.isfinite(block).all(axis=1)).tolist():
            yield f"row {number * layout.BLOCK + row} has features that are not finite"
    label, classes = file["label"][:], len(file.attrs["classes"])
    for row in np.flatnonzero((label < -1) | (label >= classes)).tolist():
        yield f"row {row} has label code {int(label[row])}, but there are {classes} classes"
    yield from _label_set_defects(file, classes)
    for row, split in enumerate(layout.texts(file["split"])):
        if split not in SPLITS:
            yield f"row {row} has the unknown split {one_line(split)!r}"
    yield from _repeated(file, HashIndex(PATH_HASH))


def _label_set_defects(file: h5py.File, classes: int) -> Iterator[str]:
    if columns.LABELS not in file:
        return
    if file[columns.LABELS].shape[1] != classes:
        yield f"labels has shape {file[columns.LABELS].shape}, but there are {classes} classes"
        return
    for number, block in enumerate(layout.blocks(file[columns.LABELS])):
        for row in np.flatnonzero((np.abs(block) > 1).any(axis=1)).tolist():
            yield f"row {number * layout.BLOCK + row} has a label that is not 0, 1 or -1"


def _repeated(file: h5py.File, seen: HashIndex) -> Iterator[str]:
    for row, name in enumerate(layout.texts(file["path"])):
        fresh = len(seen)
        if seen.add(path_hash(name)) != fresh:
            yield f"row {row} repeats the path {one_line(name)}"


def path_hash(path: str) -> bytes:
    """Return a hash of 16 bytes, so that a million paths need little memory."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=PATH_HASH).digest()


def _identity_defects(file: h5py.File) -> Iterator[str]:
    extraction = layout.document(file, "extraction")
    if digest_of(extraction) != layout.text(file.attrs["digest"]):
        yield "attribute digest does not belong to attribute extraction"
    backbone = layout.described(extraction)
    if backbone is None:
        yield "attribute extraction describes no backbone"
        return
    for name, width in (layout.layer_columns(file) or {"features": backbone.dim}).items():
        if width != file[name].shape[1]:
            yield f"{name} has shape {file[name].shape}, but the backbone gives {width} a row"


def _checksum_defects(file: h5py.File) -> Iterator[str]:
    expected = layout.document(file, "checksums")
    for name, parts in _summed(file).items():
        total = hashlib.sha256()
        for part in parts if name in expected else ():
            total.update(layout.row_bytes(part))
        if name in expected and total.hexdigest() != expected[name]:
            yield f"the data of {name} do not match their checksum{_which_rows(file, name)}"
    for name in layout.RECORDS:
        if name in expected and layout.record_checksum(file, name) != expected[name]:
            yield f"attribute {name} does not match its checksum"


def _which_rows(file: h5py.File, name: str) -> str:
    version, target = layout.file_version(file), layout.read_target(file)
    names = [column.name for column in columns.of_version(version, target)]
    if name not in names or CHECKS not in file:
        return ""
    rows = np.flatnonzero(~_good_rows(file, name, names.index(name))).tolist()
    named = ", ".join(map(str, rows[:_ROWS_NAMED]))
    more = f" and {len(rows) - _ROWS_NAMED:,} more" if len(rows) > _ROWS_NAMED else ""
    return f" ({'row' if len(rows) == 1 else 'rows'} {named}{more})" if rows else ""


def _good_rows(file: h5py.File, name: str, number: int) -> NDArray[np.bool_]:
    """Return which rows of a column match their own checksums, in the column ``number`` of them."""
    blocks = layout.blocks(layout.column(file, name))
    crcs = [np.empty(0, np.uint32), *map(layout.row_checks, blocks)]
    good: NDArray[np.bool_] = np.concatenate(crcs) == file[CHECKS][:, number]
    return good


def _summed(file: h5py.File) -> dict[str, Iterator[NDArray[Any]]]:
    version, target = layout.file_version(file), layout.read_target(file)
    table = (*columns.of_version(version, target), columns.checks(version, target))
    names = [expected.name for expected in table if expected.name in file]
    names += [f"failures/{part.name}" for part in FAILURES if f"failures/{part.name}" in file]
    classes = np.array(layout.read_classes(file), object)
    return {"classes": iter([classes])} | {
        name: layout.blocks(layout.column(file, name)) for name in names
    }
