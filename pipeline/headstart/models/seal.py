"""The seal of a classifier file: what version it has, and that nothing in it has changed.

A line of the form ``headstart-model/SCHEMA/sha256/HEX`` among the file's metadata holds the SHA-256
of all the file's bytes, with zeros in place of the 64 digits. It is looked at before any library
parses the file. A seal tells damage and edits; somebody hostile can make one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from headstart.core.errors import BackboneError, one_line

KEY = "headstart.seal"  # in the file's metadata; the last entry
SCHEMA = 1  # of what a classifier file holds

_MARK = b"headstart-model/"
_SEAL = re.compile(rb"headstart-model/([1-9]\d{0,5})/sha256/([0-9a-f]{64})")
_DIGITS = 64


def blank() -> str:
    """Return the metadata value that `seal` fills in."""
    return f"{_MARK.decode()}{SCHEMA}/sha256/{'0' * _DIGITS}"


def seal(path: Path) -> None:
    """Fill in the digest of a file that holds a `blank` seal.

    Raises:
        ValueError: it holds none.
        OSError: it cannot be read or written.
    """
    data = path.read_bytes()
    found = _find(data)
    if found is None:
        raise ValueError(f"{path} holds no seal to fill in")
    with path.open("r+b") as file:
        file.seek(found.start(2))
        file.write(_digest(data, found.start(2)).encode())


def check(path: Path) -> None:
    """Check that a file is a classifier by Headstart, whole and as it was written.

    Raises:
        BackboneError: it is not, cannot be read, or was written by a newer Headstart.
    """
    shown = one_line(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackboneError(f"cannot read {shown}: {error.strerror}") from error
    found = _find(data)
    if found is None:
        raise BackboneError(
            f"{shown} is no classifier that Headstart wrote, or it is cut short; copy it again, or "
            "make one with: headstart train-heads"
        )
    if int(found[1]) > SCHEMA:
        raise BackboneError(
            f"{shown} was written by a newer Headstart (schema {int(found[1])}, this one reads "
            f"{SCHEMA}); update Headstart"
        )
    if _digest(data, found.start(2)) != found[2].decode():
        raise BackboneError(
            f"{shown} is not as Headstart wrote it: its bytes do not match their digest; copy it "
            "again, or make it anew with: headstart train-heads"
        )


def _find(data: bytes) -> re.Match[bytes] | None:
    at = data.rfind(_MARK)  # the last, since class names may hold anything
    return _SEAL.match(data, at) if at >= 0 else None


def _digest(data: bytes, at: int) -> str:
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(b"0" * _DIGITS)
    digest.update(view[at + _DIGITS :])
    return digest.hexdigest()
