"""The journal: embedded rows, appended as they are computed, that outlive a killed process.

A header names the extraction. Records of one fixed size follow, each with its own CRC-32. Reading
stops at the first record that is short or damaged, so a crash during a write loses only the records
in flight.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.files import cannot_write, open_handle, read_at, write_all
from headstart.features.store.columns import HASH_BYTES, PLAIN

MAGIC = b"HSJRNL%02d" % PLAIN  # the version that last changed the columns of records
KEY_BYTES = 16
_HEADER = struct.Struct("<8sII")  # magic, length of the JSON, its CRC-32
_SCAN = 1024  # records read at once when opening, fewer where they are large
_SCAN_BYTES = 1 << 24

Field = tuple[str, np.dtype[Any], tuple[int, ...]]
"""A value of a record: its name, numpy type and shape."""


class Record(NamedTuple):
    """One embedded image: hash of its bytes, key of its file's state, and computed values."""

    sha256: bytes
    key: bytes
    values: Mapping[str, NDArray[Any]]


class Journal:
    """An append-only file of `Record`, for one extraction; its length is the number of records.

    The file is created if it does not exist. ``digest`` is the hash of the extraction document, and
    ``fields`` are the values of a record.

    Raises:
        StoreError: the file has rows of a different backbone or preprocessing.
    """

    def __init__(
        self, path: Path, extraction: dict[str, Any], digest: str, fields: Sequence[Field]
    ) -> None:
        self.path = path
        self.names = [name for name, _, _ in fields]
        self._count = 0
        self._recovered = bytearray()  # hash and key of the records of an earlier run
        self._record = np.dtype([("sha256", "u1", HASH_BYTES), ("key", "u1", KEY_BYTES), *fields])
        self._stride = self._record.itemsize + 4
        self._handle = -1
        try:
            self._handle = open_handle(path, os.O_RDWR | os.O_CREAT)
            self._start = self._open_header(extraction, digest)
            self._recover()
        except BaseException as error:
            if self._handle >= 0:  # keep the file: it may hold work
                os.close(self._handle)
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise

    def _open_header(self, extraction: dict[str, Any], digest: str) -> int:
        header = _read_header(self._handle)
        if header:
            if header.document["digest"] != digest:
                name = header.document["extraction"]["backbone"]["name"]
                raise StoreError(
                    f"{one_line(self.path)} holds unfinished work with a different backbone or "
                    f"preprocessing ({one_line(name)}); finish that run, delete the file, or "
                    "choose another --out"
                )
            return header.size
        # New, or killed before its header was complete: nothing in it can be trusted.
        body = json.dumps({"digest": digest, "extraction": extraction}).encode()
        os.ftruncate(self._handle, 0)
        write_all(self._handle, _HEADER.pack(MAGIC, len(body), zlib.crc32(body)) + body, 0)
        return _HEADER.size + len(body)

    def _recover(self) -> None:
        scan = max(1, min(_SCAN, _SCAN_BYTES // self._stride))
        while True:
            block = self._pread(self._count, scan)
            for start in range(0, len(block) - self._stride + 1, self._stride):
                payload = block[start : start + self._record.itemsize]
                crc = block[start + self._record.itemsize : start + self._stride]
                if zlib.crc32(payload).to_bytes(4, "little") != crc:
                    break
                self._recovered += payload[: HASH_BYTES + KEY_BYTES]
                self._count += 1
            else:
                if len(block) == scan * self._stride:
                    continue
            os.ftruncate(self._handle, self._offset(self._count))
            return

    def __len__(self) -> int:
        return self._count

    def recovered(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield ``(sha256, key)`` of the records of an earlier run, in order."""
        for start in range(0, len(self._recovered), HASH_BYTES + KEY_BYTES):
            ids = bytes(self._recovered[start : start + HASH_BYTES + KEY_BYTES])
            yield ids[:HASH_BYTES], ids[HASH_BYTES:]

    def append(self, records: Sequence[Record]) -> None:
        """Add records in one write; if it fails, earlier records are kept."""
        rows = np.zeros(len(records), self._record)
        for row, record in zip(rows, records, strict=True):
            row["sha256"] = np.frombuffer(record.sha256, np.uint8)
            row["key"] = np.frombuffer(record.key, np.uint8)
            for name in self.names:
                row[name] = record.values[name]
        payloads = [row.tobytes() for row in rows]
        data = b"".join(p + zlib.crc32(p).to_bytes(4, "little") for p in payloads)
        try:
            write_all(self._handle, data, self._offset(self._count))
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._count += len(records)

    def read(self, rows: Sequence[int]) -> NDArray[Any]:
        """Return records by number as a structured array: ``sha256``, ``key`` and the fields."""
        out = np.empty(len(rows), self._record)
        for first, count, start in _runs(rows):
            block = np.frombuffer(self._pread(first, count), np.uint8).reshape(count, self._stride)
            payload = np.ascontiguousarray(block[:, : self._record.itemsize])
            out[start : start + count] = payload.view(self._record)[:, 0]
        return out

    def remove(self) -> None:
        """Delete the journal, once its rows are in a published store."""
        self._count = 0
        self.close()

    def close(self) -> None:
        """Close the file and keep it; an empty journal is deleted."""
        handle, self._handle = self._handle, -1
        try:
            if handle >= 0:
                os.close(handle)
                if not self._count:
                    self.path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _offset(self, row: int) -> int:
        return self._start + row * self._stride

    def _pread(self, row: int, count: int) -> bytes:
        return read_at(self._handle, count * self._stride, self._offset(row))


def journal_of(store: Path) -> Path:
    """Return the path of a store's journal."""
    return store.with_name(store.name + ".journal")


def journalled_extraction(path: Path) -> dict[str, Any] | None:
    """Return the extraction of a journal; None if its header is damaged."""
    with path.open("rb") as file:
        header = _read_header(file.fileno())
    return dict(header.document["extraction"]) if header else None


class _Header(NamedTuple):
    document: dict[str, Any]
    size: int


def _read_header(handle: int) -> _Header | None:
    head = read_at(handle, _HEADER.size, 0)
    if len(head) < _HEADER.size:
        return None
    magic, length, crc = _HEADER.unpack(head)
    length = min(length, os.fstat(handle).st_size)  # a damaged one may be huge
    body = read_at(handle, length, _HEADER.size)
    if magic != MAGIC or len(body) != length or zlib.crc32(body) != crc:
        return None
    return _Header(json.loads(body), _HEADER.size + length)


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Split row numbers into runs of consecutive ones: (first row, length, index in ``rows``)."""
    start = 0
    while start < len(rows):
        count = 1
        while start + count < len(rows) and rows[start + count] == rows[start] + count:
            count += 1
        yield rows[start], count, start
        start += count
