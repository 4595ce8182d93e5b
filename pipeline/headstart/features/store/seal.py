"""The seal: a hash of the whole file, after its end, that is checked before HDF5 opens the file.

HDF5 trusts what it reads: a damaged length in a global heap can keep it busy forever. It also
ignores what follows its own data, and cuts it off when a tool opens the file for writing. So the 48
bytes of the seal distinguish three kinds of file: intact; damaged since it was written; and written
or edited by another tool, whose bytes cannot be judged.
"""

from __future__ import annotations

import hashlib
import os
import struct
from enum import Enum
from pathlib import Path

from headstart.core.files import open_handle, read_at, write_all

MAGIC = b"HSSEAL01"
_SEAL = struct.Struct("<8sQ32s")  # magic, length of what it covers, its SHA-256
_STEP = 1 << 20


class Seal(Enum):
    """The state of a file by its seal."""

    WHOLE = "whole"
    BROKEN = "broken"
    ABSENT = "absent"


def seal(path: Path) -> None:
    """Append the seal to a complete file."""
    handle = open_handle(path, os.O_RDWR)
    try:
        length = os.fstat(handle).st_size
        write_all(handle, _SEAL.pack(MAGIC, length, _hash(handle, length)), length)
    finally:
        os.close(handle)


def check(path: Path) -> Seal:
    """Compare a file with its seal."""
    handle = open_handle(path)
    try:
        length = os.fstat(handle).st_size - _SEAL.size
        tail = read_at(handle, _SEAL.size, max(0, length))
        if not _is_seal(tail):
            return Seal.ABSENT
        whole = tail == _SEAL.pack(MAGIC, length, _hash(handle, length))
        return Seal.WHOLE if whole else Seal.BROKEN
    finally:
        os.close(handle)


def _hash(handle: int, length: int) -> bytes:
    total = hashlib.sha256()
    for start in range(0, length, _STEP):
        total.update(read_at(handle, min(_STEP, length - start), start))
    return total.digest()


def _is_seal(tail: bytes) -> bool:
    return tail.startswith(MAGIC) and len(tail) == _SEAL.size


def recorded_hash(path: Path) -> str:
    """Return the SHA-256 in a file's seal, in hex, unchecked; empty if it has no seal."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _SEAL.size))
        tail = file.read()
    return bytes(_SEAL.unpack(tail)[2]).hex() if _is_seal(tail) else ""
