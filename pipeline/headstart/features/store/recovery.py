"""Telling which rows of a damaged store can be trusted, and writing those to another file.

What is dropped: a row of which any value does not match its checksum, cannot be read or makes no
sense; and a column that nothing can vouch for, if rows can do without it. Features, paths and
content hashes cannot be done without, nor can the document that says which network made the
features. Nothing is invented: what is unknown is written as stores write it (label -1, no split,
size and time -1), and `headstart features` fills it in.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.files import PARTIAL, cannot_write
from headstart.core.records import SPLITS, digest_of
from headstart.features.store.check import dimension, path_hash
from headstart.features.store.hdf5_writer import Block, Failure, Head, write_file
from headstart.features.store.index import HashIndex
from headstart.features.store.layout import (
    BLOCK,
    CHECKED,
    COLUMNS,
    FAILURES,
    FORMAT,
    VERSION,
    Column,
    classes_are_texts,
    column,
    column_defect,
    document,
    failures_defects,
    is_json_object,
    layer_columns,
    layers_defect,
    read_classes,
    row_bytes,
    row_checks,
    text,
)
from headstart.features.store.opening import opened

ESSENTIAL = ("features", "path", "sha256")
LISTED = ("label", "split")  # what the next listing says again
STATE = ("size", "mtime_ns")
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises at it
_Made = Callable[[dict[str, NDArray[Any]]], Block]


def salvage(path: Path, out: Path) -> dict[str, Any]:
    """Write what can be trusted of a damaged store to another file, in this process.

    Returns:
        ``kept``, ``dropped`` and ``notes`` of `Repair`.

    Raises:
        StoreError: nothing can be.
        OutputError: the other file cannot be written.
    """
    whole = _extended(path, out) or path
    try:
        with opened(whole) as file:
            return _Salvage(file, path).write(out)
    except StoreError as error:
        raise StoreError(str(error).replace(one_line(whole), one_line(path))) from error
    finally:
        if whole != path:
            whole.unlink(missing_ok=True)


def _extended(path: Path, out: Path) -> Path | None:
    """Copy a file that was cut short and append zeros, because HDF5 refuses it as it is."""
    with path.open("rb") as file:
        head = file.read(48)
    size = path.stat().st_size
    if not head.startswith(b"\x89HDF\r\n\x1a\n\x02\x08\x08") or len(head) < 36:
        return None  # not the superblock that stores have
    end = struct.unpack_from("<Q", head, 28)[0]
    if not size < end <= 100 * size:
        return None
    copy = out.with_name(out.name.removesuffix(PARTIAL) + f".extended{PARTIAL}")
    try:
        shutil.copyfile(path, copy)
        os.truncate(copy, end)  # a hole: it takes no space
    except OSError as error:
        raise cannot_write(copy, error) from error
    return copy


class _Salvage:
    """One damaged store, open, and what of it can be trusted."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self._path = file, path
        self._notes: list[str] = []
        self._dropped: dict[str, int] = {}
        self._extraction = self._identity()
        self._sums = self._document("checksums")
        self._columns = {name: column(file, name) for name in COLUMNS if self._readable(name)}
        for name in ESSENTIAL:
            if name not in self._columns:
                raise self._hopeless(f"dataset {name} is missing or cannot be read")
        self._count = min(len(self._columns[name]) for name in ESSENTIAL)
        dim = dimension(self._extraction)
        widths: dict[str, int | None] = {**layer_columns(file)} or {"features": dim}
        if any(file[name].shape[1] != width for name, width in widths.items()):
            raise self._hopeless("features has another width than the backbone gives")
        self._keep = np.ones(self._count, bool)

    def write(self, out: Path) -> dict[str, Any]:
        """Decide and write."""
        self._judge_columns()
        classes = self._judge_classes()
        self._judge_rows(classes)
        kept = int(np.count_nonzero(self._keep))
        if not kept:
            raise self._hopeless("no row of it can be trusted")
        dim = self._columns["features"].shape[1]
        columns = [name for name in CHECKED if name != "pixels" or name in self._columns]
        digest, run = digest_of(self._extraction), self._document("run")
        head = Head(self._extraction, digest, classes, run, self._certificate())
        facts = self._blocks(("path", "sha256", *LISTED, *STATE), _facts)
        features = self._blocks(("features", "pixels"), _features)
        failures = self._failures()
        head.run["repaired"] = {"dropped": self._dropped, "lost": self._notes}
        try:
            write_file(out, head, (kept, dim), facts, features, failures, columns)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return {"kept": kept, "dropped": self._dropped, "notes": self._notes}

    def _hopeless(self, why: str) -> StoreError:
        return StoreError(
            f"{one_line(self._path)} cannot be repaired: {why}; move it away and embed the images "
            "again"
        )

    def _identity(self) -> dict[str, Any]:
        try:
            kind, version = (text(self._file.attrs.get(key)) for key in ("format", "version"))
            extraction, digest = self._document("extraction"), text(self._file.attrs["digest"])
        except _DAMAGE as error:
            raise self._hopeless(f"its attributes cannot be read ({one_line(error)})") from error
        if kind != FORMAT or version != str(VERSION):
            raise self._hopeless(f"it is no feature store of version {VERSION}")
        if dimension(extraction) is None or digest_of(extraction) != digest:
            raise self._hopeless("it does not say reliably which network made its features")
        return extraction

    def _document(self, name: str) -> dict[str, Any]:
        with suppress(*_DAMAGE):
            if name in self._file.attrs and is_json_object(self._file, name):
                return document(self._file, name)
        return {}

    def _certificate(self) -> str:
        with suppress(*_DAMAGE):
            held = text(self._file.attrs.get("certificate", ""))
            if not held or isinstance(json.loads(held), dict):
                return held
        self._notes.append("its certificate is lost")
        return ""

    def _readable(self, name: str) -> bool:
        with suppress(*_DAMAGE):
            names = list(layer_columns(self._file)) if name == "features" else []
            if names and layers_defect(self._file):
                return False
            return all(
                one in self._file and not column_defect(self._file, one, COLUMNS[name])
                for one in names or [name]
            )
        return False

    # Columns

    def _judge_columns(self) -> None:
        """Mark the rows that their checksums reject; take out the columns without a witness."""
        for name in CHECKED:
            if name not in self._columns:
                continue
            good, why = self._trusted(name)
            if why:
                del self._columns[name]
                if name in ESSENTIAL:
                    raise self._hopeless(f"the data of {name} {why}")
            else:
                self._drop(~good, f"{name} does not match its checksum or cannot be read")
        if "pixels" not in self._columns:
            self._notes.append("pixels are lost, so the store can be used but not continued")
        if any(name not in self._columns for name in STATE):
            for name in STATE:
                self._columns.pop(name, None)
            self._notes.append("sizes and times of the files are lost: they will be read again")

    def _trusted(self, name: str) -> tuple[NDArray[np.bool_], str]:
        """Return which rows of a column can be trusted, or why none can."""
        good = np.zeros(self._count, bool)
        checks = self._columns.get("checks")
        if checks is not None and len(checks) < self._count:
            checks = None
        total = _Sum()
        dataset = self._columns[name]
        for start in range(0, len(dataset), BLOCK):
            block, read = _read(dataset, start, min(start + BLOCK, len(dataset)))
            total.update(block, bool(read.all()))
            stop = min(start + len(block), self._count)
            if start < stop:
                good[start:stop] = read[: stop - start]
                if checks is not None:
                    at = CHECKED.index(name)
                    good[start:stop] &= row_checks(block[: stop - start]) == checks[start:stop, at]
        if name in self._sums and total.matches(self._sums[name]):
            fits = len(self._columns[name]) >= self._count
            return np.ones(self._count, bool), "" if fits else "are fewer than there are rows"
        if checks is not None:
            return good, ""
        if name in self._sums:
            return good, "do not match their checksum, and nothing tells which rows are good"
        if len({len(dataset) for dataset in self._columns.values()}) > 1:
            return good, "cannot be told to belong to the other columns, which differ in length"
        return good, ""

    def _judge_classes(self) -> tuple[str, ...]:
        """Return the class names; without them labels say nothing, and splits go with labels."""
        classes: tuple[str, ...] | None = None
        with suppress(*_DAMAGE):
            if "classes" in self._file.attrs and classes_are_texts(self._file):
                classes = read_classes(self._file)
        if classes is not None and not self._vouched("classes", np.array(classes, object)):
            classes = None
        if classes is None or any(name not in self._columns for name in LISTED):
            for name in LISTED:
                self._columns.pop(name, None)
            self._notes.append("labels, splits and classes are lost until they are listed again")
            return ()
        return classes

    # Rows

    def _judge_rows(self, classes: tuple[str, ...]) -> None:
        finite, label_fits, split_fits = (np.ones(self._count, bool) for _ in range(3))
        numbers = np.zeros(self._count, np.int64)
        seen = HashIndex(len(path_hash("")))
        for start, rows in self._rows(("features", "path", *LISTED)):
            stop = start + len(rows["path"])
            finite[start:stop] = np.isfinite(rows["features"]).all(axis=1)
            if "label" in rows:
                label_fits[start:stop] = (rows["label"] >= -1) & (rows["label"] < len(classes))
                split_fits[start:stop] = [text(value) in SPLITS for value in rows["split"]]
            numbers[start:stop] = [seen.add(path_hash(text(value))) for value in rows["path"]]
        self._drop(~finite, "features are not finite")
        self._drop(~label_fits, "unknown label code")
        self._drop(~split_fits, "unknown split")
        times = np.bincount(numbers[self._keep], minlength=len(seen))
        # Of rows that claim the same path, nobody can tell which is right.
        self._drop(times[numbers] > 1, "repeated path")

    def _drop(self, rows: NDArray[np.bool_], why: str) -> None:
        fresh = int(np.count_nonzero(rows & self._keep))
        if fresh:
            self._dropped[why] = fresh
            self._keep &= ~rows

    def _rows(self, names: tuple[str, ...]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Yield the trusted columns among these, some rows at a time."""
        for start in range(0, self._count, BLOCK):
            stop = min(start + BLOCK, self._count)
            yield (
                start,
                {
                    name: _read(self._columns[name], start, stop)[0]
                    for name in names
                    if name in self._columns
                },
            )

    def _blocks(self, names: tuple[str, ...], made: _Made) -> Iterator[Block]:
        for start, rows in self._rows(names):
            keep = self._keep[start : start + BLOCK]
            if keep.any():
                yield made({name: values[keep] for name, values in rows.items()})

    def _failures(self) -> list[Failure]:
        """Return the failures if nothing is wrong with them; the next run finds them again."""
        with suppress(*_DAMAGE):
            if "failures" not in self._file:
                return []
            if not list(failures_defects(self._file)):
                group = self._file["failures"]
                columns = {name: group[name][:] for name in FAILURES if name in group}
                if all(self._vouched(f"failures/{name}", held) for name, held in columns.items()):
                    hashes = columns.get("sha256", np.zeros((len(columns["path"]), 32), "u1"))
                    rows = zip(columns["path"], columns["reason"], hashes, strict=True)
                    return [Failure(text(p), text(r), h.tobytes()) for p, r, h in rows]
        self._notes.append("the list of failures is lost until they are met again")
        return []

    def _vouched(self, name: str, values: NDArray[Any]) -> bool:
        total = _Sum()
        total.update(values, True)
        return name not in self._sums or total.matches(self._sums[name])


class _Sum:
    """The SHA-256 of a column, if all of it could be read."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self._complete = True

    def update(self, rows: NDArray[Any], complete: bool) -> None:
        self._total.update(row_bytes(rows))
        self._complete &= complete

    def matches(self, expected: object) -> bool:
        return self._complete and self._total.hexdigest() == expected


def _read(dataset: Column, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return rows and which of them could be read; the others are empty."""
    count = stop - start
    with suppress(*_DAMAGE):
        return dataset[start:stop], np.ones(count, bool)
    rows, read = np.zeros((count, *dataset.shape[1:]), dataset.dtype), np.zeros(count, bool)
    if rows.dtype == object:
        rows[:] = b""
    for at in range(count):
        with suppress(*_DAMAGE):
            rows[at] = dataset[start + at]
            read[at] = True
    return rows, read


def _facts(rows: dict[str, NDArray[Any]]) -> Block:
    n = len(rows["path"])
    unknown = np.full(n, -1, "<i8")
    return {
        "path": np.array([text(value) for value in rows["path"]], object),
        "label": rows.get("label", np.full(n, -1, "<i4")).astype("<i4", copy=False),
        "split": np.array([text(value) for value in rows.get("split", [""] * n)], object),
        "sha256": rows["sha256"],
        "size": rows.get("size", unknown).astype("<i8", copy=False),
        "mtime_ns": rows.get("mtime_ns", unknown).astype("<i8", copy=False),
    }


def _features(rows: dict[str, NDArray[Any]]) -> Block:
    made = {"features": rows["features"].astype("<f4", copy=False)}
    return made | ({"pixels": rows["pixels"]} if "pixels" in rows else {})
