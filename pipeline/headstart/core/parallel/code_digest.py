"""Which code runs: processes of a cluster share work only if they run the same."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import headstart


@cache
def code_digest() -> str:
    """Return the SHA-256 of this package's source: two machines with the same do the same.

    A version number is not enough: it stays the same while the code is edited.
    """
    root = Path(headstart.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
