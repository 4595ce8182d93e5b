"""Which extraction a store, or the journal of a run that did not end, holds."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from headstart.core.errors import StoreError
from headstart.features.store.check import first_defect
from headstart.features.store.journal import HEADER, MAGIC
from headstart.features.store.manifest import NAME, PLAN, is_folder
from headstart.features.store.manifest import read as read_manifest
from headstart.features.store.opening import opened


def held_extraction(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the extraction that a writer of this store would go on with, or None.

    What is damaged counts as none: `StoreWriter` will say what is wrong with it.

    Args:
        path: the store.
    """
    path = Path(path)
    try:
        if is_folder(path):
            name = NAME if (path / NAME).exists() else PLAN
            return read_manifest(path, name).extraction
        if path.exists():
            if first_defect(path):
                return None
            with opened(path) as file:
                document: dict[str, Any] = json.loads(file.attrs["extraction"])
            return document
        with path.with_name(path.name + ".journal").open("rb") as journal:
            magic, length, crc = HEADER.unpack(journal.read(HEADER.size))
            body = journal.read(min(length, 1 << 24))
        if magic != MAGIC or len(body) != length or zlib.crc32(body) != crc:
            return None
        header: dict[str, Any] = json.loads(body)["extraction"]
        return header
    except (OSError, StoreError, ValueError, KeyError, TypeError, struct.error):
        return None
