"""The journal: embedded rows, appended as they are made, that outlive a killed process.

A header says which extraction the rows belong to; then come records of one fixed size, each with
its own CRC-32. Reading stops at the first record that is short or damaged, so a crash in the
middle of a write costs the records in flight and nothing before them.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.files import cannot_write, write_all
from headstart.datasets.images import MINIATURE

MAGIC = b"HSJRNL01"
KEY_BYTES = 16
HASH_BYTES = 32
HEADER = struct.Struct("<8sII")  # magic, length of the JSON, its CRC-32
_SCAN = 1024  # records read at once when opening, fewer where they are large
_SCAN_BYTES = 1 << 24


class Record(NamedTuple):
    """One embedded image: hash of its bytes, key of its file's state, and what was computed."""

    sha256: bytes
    key: bytes
    features: NDArray[np.float32]
    pixels: NDArray[np.uint8]


class Journal:
    """An append-only file of `Record`, for one extraction.

    Args:
        path: where it lies.
        extraction: identity document of the features.
        digest: the document's hash.
        dim: features per image.
        kind: numpy type of a feature.
        miniatures: whether a record has the field ``pixels``.

    Its length is the number of its records.

    Raises:
        StoreError: the file holds rows of another extraction.
        OutputError: it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        extraction: dict[str, Any],
        digest: str,
        dim: int,
        *,
        kind: str = "<f4",
        miniatures: bool = True,
    ) -> None:
        self.path = path
        self._count = 0
        self._found = bytearray()  # hash and key of the records that were there when it was opened
        self._miniatures = miniatures
        pixels = [("pixels", "u1", (MINIATURE, MINIATURE, 3))] if miniatures else []
        self._record = np.dtype(
            [
                ("sha256", "u1", HASH_BYTES),
                ("key", "u1", KEY_BYTES),
                ("features", kind, dim),
                *pixels,
            ]
        )
        self._stride = self._record.itemsize + 4
        self._handle = -1
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._start = self._open_header(extraction, digest)
            self._recover()
        except BaseException as error:
            if self._handle >= 0:  # the file stays, whatever it is: it may hold work
                os.close(self._handle)
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise

    def _open_header(self, extraction: dict[str, Any], digest: str) -> int:
        head = os.pread(self._handle, HEADER.size, 0)
        if len(head) == HEADER.size:
            magic, length, crc = HEADER.unpack(head)
            length = min(length, os.fstat(self._handle).st_size)  # a damaged one may be huge
            body = os.pread(self._handle, length, HEADER.size)
            if magic == MAGIC and len(body) == length and zlib.crc32(body) == crc:
                held = json.loads(body)
                if held["digest"] != digest:
                    name = held["extraction"]["backbone"]["name"]
                    raise StoreError(
                        f"{one_line(self.path)} holds unfinished work of another extraction "
                        f"({one_line(name)}); finish that run, delete the file, or choose "
                        "another --out"
                    )
                return HEADER.size + int(length)
        # New, or killed before its header was whole: nothing in it can be trusted.
        body = json.dumps({"digest": digest, "extraction": extraction}).encode()
        os.ftruncate(self._handle, 0)
        write_all(self._handle, HEADER.pack(MAGIC, len(body), zlib.crc32(body)) + body, 0)
        return HEADER.size + len(body)

    def _recover(self) -> None:
        scan = max(1, min(_SCAN, _SCAN_BYTES // self._stride))
        while True:
            block = self._pread(self._count, scan)
            for at in range(0, len(block) - self._stride + 1, self._stride):
                payload = block[at : at + self._record.itemsize]
                crc = block[at + self._record.itemsize : at + self._stride]
                if zlib.crc32(payload).to_bytes(4, "little") != crc:
                    break
                self._found += payload[: HASH_BYTES + KEY_BYTES]
                self._count += 1
            else:
                if len(block) == scan * self._stride:
                    continue
            os.ftruncate(self._handle, self._offset(self._count))
            return

    def __len__(self) -> int:
        """Return the number of records."""
        return self._count

    def held(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield ``(sha256, key)`` of the records that were there when it was opened, in order."""
        for at in range(0, len(self._found), HASH_BYTES + KEY_BYTES):
            found = bytes(self._found[at : at + HASH_BYTES + KEY_BYTES])
            yield found[:HASH_BYTES], found[HASH_BYTES:]

    def append(self, records: Sequence[Record]) -> None:
        """Add records in one write.

        Raises:
            OutputError: the disk is full or broken; what was held before is still held.
        """
        rows = np.zeros(len(records), self._record)
        for row, record in zip(rows, records, strict=True):
            row["sha256"] = np.frombuffer(record.sha256, np.uint8)
            row["key"] = np.frombuffer(record.key, np.uint8)
            row["features"] = record.features
            if self._miniatures:
                row["pixels"] = record.pixels
        payloads = [row.tobytes() for row in rows]
        data = b"".join(p + zlib.crc32(p).to_bytes(4, "little") for p in payloads)
        try:
            write_all(self._handle, data, self._offset(self._count))
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._count += len(records)

    def read(self, rows: Sequence[int]) -> NDArray[Any]:
        """Return records by number as a structured array with `Record`'s fields."""
        out = np.empty(len(rows), self._record)
        for first, count, at in _runs(rows):
            block = np.frombuffer(self._pread(first, count), np.uint8).reshape(count, self._stride)
            payload = np.ascontiguousarray(block[:, : self._record.itemsize])
            out[at : at + count] = payload.view(self._record)[:, 0]
        return out

    def remove(self) -> None:
        """Delete the journal: its rows are in a published store.

        Raises:
            OutputError: it cannot be deleted.
        """
        self._count = 0
        self.close()

    def close(self) -> None:
        """Close the file and keep it; an empty journal is deleted.

        Raises:
            OutputError: that failed.
        """
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
        return os.pread(self._handle, count * self._stride, self._offset(row))


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Split row numbers into runs of consecutive ones: (first row, length, place in ``rows``)."""
    at = 0
    while at < len(rows):
        count = 1
        while at + count < len(rows) and rows[at + count] == rows[at] + count:
            count += 1
        yield rows[at], count, at
        at += count
