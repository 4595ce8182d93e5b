"""The seal of a classifier file: its schema version, and a digest that shows any change.

A line ``headstart-model/SCHEMA/sha256/HEX`` in the file's metadata holds the SHA-256 of all the
file's bytes, with zeros in place of the 64 digits. It is checked before any library parses the
file. A seal detects damage and edits; it does not stop an attacker, who can write a valid one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from headstart.core.errors import BackboneError, one_line

KEY = "headstart.seal"  # in the file's metadata; the last entry
SCHEMA = 1  # of the contents of a classifier file

_MARK = b"headstart-model/"
_SEAL = re.compile(rb"headstart-model/([1-9]\d{0,5})/sha256/([0-9a-f]{64})")
_DIGITS = 64


def blank() -> str:
    """Return the metadata value that `seal` fills in."""
    return f"{_MARK.decode()}{SCHEMA}/sha256/{'0' * _DIGITS}"


def seal(path: Path) -> None:
    """Fill in the digest of a file with a `blank` seal; raise ValueError if it has none."""
    data = path.read_bytes()
    match = _find(data)
    if match is None:
        raise ValueError(f"{path} has no seal to fill in")
    with path.open("r+b") as file:
        file.seek(match.start(2))
        file.write(_digest(data, match.start(2)).encode())


def check(path: Path) -> None:
    """Check that a file is a classifier that Headstart wrote, complete and unchanged.

    Raises:
        BackboneError: it is not, cannot be read, or was written by a newer Headstart.
    """
    shown = one_line(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackboneError(f"cannot read {shown}: {error.strerror}") from error
    match = _find(data)
    if match is None:
        raise BackboneError(
            f"{shown} is not a classifier that Headstart wrote, or it is incomplete; copy it "
            "again, or train one with: headstart train-heads"
        )
    if int(match[1]) > SCHEMA:
        raise BackboneError(
            f"{shown} was written by a newer Headstart (schema {int(match[1])}, this one reads "
            f"{SCHEMA}); update Headstart"
        )
    if _digest(data, match.start(2)) != match[2].decode():
        raise BackboneError(
            f"{shown} is damaged or was edited: its bytes do not match their digest; copy it "
            "again, or train it again with: headstart train-heads"
        )


def _find(data: bytes) -> re.Match[bytes] | None:
    offset = data.rfind(_MARK)  # the last one, since class names may contain anything
    return _SEAL.match(data, offset) if offset >= 0 else None


def _digest(data: bytes, offset: int) -> str:
    view = memoryview(data)
    digest = hashlib.sha256(view[:offset])
    digest.update(b"0" * _DIGITS)
    digest.update(view[offset + _DIGITS :])
    return digest.hexdigest()
