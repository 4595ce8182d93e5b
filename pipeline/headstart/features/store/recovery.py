"""Finding the rows of a damaged store that can be trusted, and writing those to another file.

A row is dropped if a value does not match its checksum, cannot be read or is out of range. A column
is dropped if no checksum confirms it and rows can do without it; features, paths and content hashes
are indispensable, and so is the document that says which network made the features. Nothing is
invented: an unknown value becomes its column's default, and `headstart features` fills it in.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import HeadstartError, StoreError, one_line
from headstart.core.files import PARTIAL, cannot_write
from headstart.core.records import SPLITS, Backbone, digest_of
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.features.store import columns, layout
from headstart.features.store.check import path_hash
from headstart.features.store.columns import (
    CHECKS,
    FORMAT,
    HASH_BYTES,
    LISTING,
    STATE,
    VERSION,
    Block,
    Column,
    Failure,
)
from headstart.features.store.hdf5_writer import Head, write_file
from headstart.features.store.index import HashIndex
from headstart.features.store.opening import looks_like_store, opened

_SIGNATURE = b"\x89HDF\r\n\x1a\n\x02\x08\x08"  # of a store's superblock
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises for it


def recover(path: Path, out: Path) -> dict[str, Any]:
    """Write the trustworthy rows of a damaged store to another file, in this process.

    Returns ``kept``, ``dropped`` and ``notes`` of `Repair`.

    Raises:
        StoreError: no row can be trusted.
    """
    extended = _extended(path, out) or path
    try:
        with opened(extended) as file:
            return _Recovery(file, path).write(out)
    except StoreError as error:
        raise StoreError(str(error).replace(one_line(extended), one_line(path))) from error
    finally:
        if extended != path:
            extended.unlink(missing_ok=True)


def _extended(path: Path, out: Path) -> Path | None:
    """Copy a file that HDF5 would refuse, with its signature, and zeros where it was cut short."""
    with path.open("rb") as file:
        head = file.read(48)
    size = path.stat().st_size
    if len(head) < 36 or not looks_like_store(path):
        return None
    end = struct.unpack_from("<Q", head, 28)[0]
    if not size < end <= 100 * size:
        end = size
    if end == size and head.startswith(_SIGNATURE):
        return None
    copy = out.with_name(out.name.removesuffix(PARTIAL) + f".extended{PARTIAL}")
    try:
        shutil.copyfile(path, copy)
        with copy.open("r+b") as file:
            file.write(_SIGNATURE)
            file.truncate(end)  # sparse: it takes no space
    except OSError as error:
        raise cannot_write(copy, error) from error
    return copy


class _Recovery:
    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self._path = file, path
        self._notes: list[str] = []
        self._dropped: dict[str, int] = {}
        self._extraction, self._backbone = self._identity()
        self._sums = self._document("checksums")
        self._version = layout.file_version(file)
        target = self._target()
        self._table = columns.of_version(self._version, target)
        self._columns: dict[str, layout.Dataset] = {
            column.name: layout.column(file, column.name)
            for column in (*self._table, columns.checks(self._version, target))
            if self._readable(column)
        }
        essential = [column.name for column in self._table if _is_essential(column)]
        for name in essential:
            if name not in self._columns:
                raise self._hopeless(f"dataset {name} is missing or cannot be read")
        self._count = min(len(self._columns[name]) for name in essential)
        widths = layout.layer_columns(file) or {"features": self._backbone.dim}
        if any(file[name].shape[1] != width for name, width in widths.items()):
            raise self._hopeless("features has another width than the backbone gives")
        self._keep = np.ones(self._count, bool)

    def write(self, out: Path) -> dict[str, Any]:
        self._judge_columns()
        classes = self._judge_classes()
        self._judge_rows(classes)
        kept = int(np.count_nonzero(self._keep))
        if not kept:
            raise self._hopeless("no row of it can be trusted")
        dim = self._columns["features"].shape[1]
        lost = [c.name for c in self._table if c.name not in self._columns and c.default is None]
        digest, run = digest_of(self._extraction), self._run()
        target = self._target() if columns.LABELS in self._columns else SINGLE_LABEL
        origins = columns.ORIGIN in self._columns
        head = Head(self._extraction, digest, classes, run, self._certificate(run), target, origins)
        listed = columns.from_listing(target, head.version)
        passes = [self._blocks(listed), self._blocks(columns.from_image())]
        failures = self._failures()
        head.run["repaired"] = {"dropped": self._dropped, "lost": self._notes}
        try:
            write_file(out, head, (kept, dim), passes, failures, absent=lost)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return {"kept": kept, "dropped": self._dropped, "notes": self._notes}

    def _target(self) -> str:
        """Return what is predicted: damage may have changed the name."""
        with suppress(*_DAMAGE):
            if layout.read_target(self._file) == MULTI_LABEL:
                return MULTI_LABEL
        return SINGLE_LABEL

    def _hopeless(self, why: str) -> StoreError:
        return StoreError(
            f"{one_line(self._path)} cannot be repaired: {why}; move it away and embed the images "
            "again"
        )

    def _identity(self) -> tuple[dict[str, Any], Backbone]:
        try:
            kind = layout.text(self._file.attrs.get("format"))
            digest = layout.text(self._file.attrs["digest"])
            extraction = self._document("extraction")
        except _DAMAGE as error:
            raise self._hopeless(f"its attributes cannot be read ({one_line(error)})") from error
        if kind != FORMAT or not layout.file_version(self._file):
            raise self._hopeless(f"it is not a feature store of version {VERSION}")
        backbone = layout.described(extraction)
        if backbone is None or digest_of(extraction) != digest:
            raise self._hopeless("it does not say reliably which network made its features")
        return extraction, backbone

    def _document(self, name: str) -> dict[str, Any]:
        with suppress(*_DAMAGE):
            if name in self._file.attrs and layout.is_json_object(self._file, name):
                return layout.document(self._file, name)
        return {}

    def _run(self) -> dict[str, Any]:
        """Return the record of the run; older stores have no checksum of it.

        What it says of the network's files is checked by their own hashes when they are used.
        """
        intact = self._is_intact("run")
        run = {} if intact is False else self._document("run")
        if "\\udc" in json.dumps(run):  # bytes that are no text
            run = {}
        if "run" in self._file.attrs and not run:
            self._notes.append("the record of the run that made it is lost")
        return run

    def _certificate(self, run: dict[str, Any]) -> str:
        """Return the certificate that its checksum confirms, or else that of the same network."""
        with suppress(*_DAMAGE):
            if not self._file.attrs.get("certificate", ""):
                return ""
            if self._is_intact("certificate"):
                return layout.text(self._file.attrs["certificate"])
        certificate = self._certificate_of_backbone(str(run.get("model", "")))
        self._notes.append(
            "its certificate could not be confirmed and was replaced by the network's own"
            if certificate
            else "its certificate could not be confirmed and is left out"
        )
        return certificate

    def _certificate_of_backbone(self, model: str) -> str:
        from headstart.backbones.inference.description import read_backbone, read_metadata
        from headstart.backbones.inference.parity import METADATA

        with suppress(HeadstartError, OSError):  # the file is gone, damaged or another one
            metadata = read_metadata(Path(model))
            if read_backbone(metadata, Path(model)) == self._backbone:
                return metadata.get(METADATA, "")
        return ""

    def _is_intact(self, name: str) -> bool | None:
        """Return whether an attribute's text has its checksum; None if there is none to compare."""
        if name in self._sums:
            return bool(layout.record_checksum(self._file, name) == self._sums[name])
        return None

    def _readable(self, column: Column) -> bool:
        with suppress(*_DAMAGE):
            names = list(layout.layer_columns(self._file)) if column.name == "features" else []
            if names and layout.layers_defect(self._file):
                return False
            return all(
                name in self._file and not layout.column_defect(self._file, name, column)
                for name in names or [column.name]
            )
        return False

    def _judge_columns(self) -> None:
        """Mark the rows that their checksums reject; remove the columns that none confirms."""
        for column in self._table:
            name = column.name
            if name not in self._columns:
                continue
            good, problem = self._trusted(name)
            if problem:
                del self._columns[name]
                if _is_essential(column):
                    raise self._hopeless(f"the data of {name} {problem}")
            else:
                self._drop(~good, f"{name} does not match its checksum or cannot be read")
        for column in self._table:
            if column.name not in self._columns and column.default is None:
                self._notes.append(
                    f"{column.name} are lost, so the store can be used but not continued"
                )
        if self._lost(STATE):
            self._notes.append("sizes and times of the files are lost: the files are read again")

    def _lost(self, group: str) -> bool:
        """Return whether a column of a group is lost; the rest of the group is then dropped too."""
        names = [column.name for column in self._table if column.group == group]
        if all(name in self._columns for name in names):
            return False
        for name in names:
            self._columns.pop(name, None)
        return True

    def _trusted(self, name: str) -> tuple[NDArray[np.bool_], str]:
        """Return which rows of a column can be trusted, or why none can."""
        good = np.zeros(self._count, bool)
        checks = self._columns.get(CHECKS)
        number = [column.name for column in self._table].index(name)
        if checks is not None and len(checks) < self._count:
            checks = None
        total, complete = hashlib.sha256(), True
        dataset = self._columns[name]
        for start in range(0, len(dataset), layout.BLOCK):
            block, read = _read(dataset, start, min(start + layout.BLOCK, len(dataset)))
            total.update(layout.row_bytes(block))
            complete &= bool(read.all())
            stop = min(start + len(block), self._count)
            if start < stop:
                good[start:stop] = read[: stop - start]
                if checks is not None:
                    crcs = layout.row_checks(block[: stop - start])
                    good[start:stop] &= crcs == checks[start:stop, number]
        if complete and total.hexdigest() == self._sums.get(name):
            fits = len(self._columns[name]) >= self._count
            return np.ones(self._count, bool), "" if fits else "are fewer than there are rows"
        if checks is not None:
            return good, ""
        if name in self._sums:
            return good, "do not match their checksum, and no row's own checksum is left"
        if len({len(dataset) for dataset in self._columns.values()}) > 1:
            return good, "have no checksum, and the columns differ in length"
        return good, ""

    def _judge_classes(self) -> tuple[str, ...]:
        """Return the class names. Without them labels mean nothing, and splits go with labels."""
        classes: tuple[str, ...] | None = None
        with suppress(*_DAMAGE):
            if "classes" in self._file.attrs and layout.classes_are_texts(self._file):
                classes = layout.read_classes(self._file)
        if classes is None or not self._confirmed("classes", np.array(classes, object)):
            classes = None
            self._columns.pop("label", None)
        sets = self._columns.get(columns.LABELS)
        if sets is not None and classes is not None and sets.shape[1] != len(classes):
            del self._columns[columns.LABELS]
        if self._lost(LISTING) or classes is None:
            self._notes.append("labels, splits and classes are lost; headstart features adds them")
            return ()
        return classes

    def _judge_rows(self, classes: tuple[str, ...]) -> None:
        finite, label_fits, split_fits = (np.ones(self._count, bool) for _ in range(3))
        numbers = np.zeros(self._count, np.int64)
        seen = HashIndex(len(path_hash("")))
        for start, rows in self._rows(("features", "path", "label", "split", columns.LABELS)):
            stop = start + len(rows["path"])
            finite[start:stop] = np.isfinite(rows["features"]).all(axis=1)
            if "label" in rows:
                label_fits[start:stop] = (rows["label"] >= -1) & (rows["label"] < len(classes))
                split_fits[start:stop] = [layout.text(value) in SPLITS for value in rows["split"]]
            if columns.LABELS in rows:
                label_fits[start:stop] &= (np.abs(rows[columns.LABELS]) <= 1).all(axis=1)
            paths = map(layout.text, rows["path"])
            numbers[start:stop] = [seen.add(path_hash(path)) for path in paths]
        self._drop(~finite, "features are not finite")
        self._drop(~label_fits, "unknown label code")
        self._drop(~split_fits, "unknown split")
        times = np.bincount(numbers[self._keep], minlength=len(seen))
        # Of rows with the same path, nothing says which is right.
        self._drop(times[numbers] > 1, "repeated path")

    def _drop(self, rows: NDArray[np.bool_], why: str) -> None:
        fresh = int(np.count_nonzero(rows & self._keep))
        if fresh:
            self._dropped[why] = fresh
            self._keep &= ~rows

    def _rows(self, names: Iterable[str]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        for start in range(0, self._count, layout.BLOCK):
            stop = min(start + layout.BLOCK, self._count)
            readable = [name for name in names if name in self._columns]
            yield start, {name: _read(self._columns[name], start, stop)[0] for name in readable}

    def _blocks(self, table: tuple[Column, ...]) -> Iterator[Block]:
        for start, rows in self._rows([column.name for column in table]):
            keep = self._keep[start : start + layout.BLOCK]
            if keep.any():
                yield {
                    column.name: _as_written(column, rows, keep)
                    for column in table
                    if column.name in rows or column.default is not None
                }

    def _failures(self) -> list[Failure]:
        """Return the failures if they are intact; otherwise none: the next run finds them again."""
        with suppress(*_DAMAGE):
            if "failures" not in self._file:
                return []
            if not list(layout.failures_defects(self._file)):
                group = self._file["failures"]
                block = {c.name: group[c.name][:] for c in columns.FAILURES if c.name in group}
                if all(self._confirmed(f"failures/{name}", rows) for name, rows in block.items()):
                    hashes = block.get("sha256", np.zeros((len(block["path"]), HASH_BYTES), "u1"))
                    texts = (map(layout.text, block[name]) for name in ("path", "reason"))
                    rows = zip(*texts, map(bytes, hashes), strict=True)
                    return [Failure(*row) for row in rows]
        self._notes.append("the list of failures is lost; headstart features tries those again")
        return []

    def _confirmed(self, name: str, values: NDArray[Any]) -> bool:
        with suppress(UnicodeError):  # a damaged text
            digest = hashlib.sha256(layout.row_bytes(values)).hexdigest()
            return bool(self._sums.get(name, digest) == digest)
        return False


def _read(dataset: layout.Dataset, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return rows and which of them could be read; the others are empty."""
    count = stop - start
    with suppress(*_DAMAGE):
        return dataset[start:stop], np.ones(count, bool)
    rows, read = np.zeros((count, *dataset.shape[1:]), dataset.dtype), np.zeros(count, bool)
    if rows.dtype == object:
        rows[:] = b""
    for row in range(count):
        with suppress(*_DAMAGE):
            rows[row] = dataset[start + row]
            read[row] = True
    return rows, read


def _is_essential(column: Column) -> bool:
    return column.required and column.default is None


def _as_written(
    column: Column, rows: dict[str, NDArray[Any]], keep: NDArray[np.bool_]
) -> NDArray[Any]:
    if column.name not in rows:
        return column.unknown(int(np.count_nonzero(keep)))
    values = rows[column.name][keep]
    if column.is_text:
        return np.array([layout.text(value) for value in values], object)
    return values.astype(column.dtype, copy=False)
