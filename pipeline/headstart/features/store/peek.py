"""Which extraction a store, or the journal of an interrupted run, holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from headstart.core.errors import StoreError
from headstart.features.store.check import first_defect
from headstart.features.store.journal import journal_of, journalled_extraction
from headstart.features.store.layout import document
from headstart.features.store.manifest import NAME, PLAN, is_folder
from headstart.features.store.manifest import read as read_manifest
from headstart.features.store.opening import opened


def stored_extraction(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the extraction that a writer of this store would continue with, or None.

    A damaged one counts as none: `StoreWriter` reports what is wrong with it.
    """
    path = Path(path)
    try:
        if is_folder(path):
            name = NAME if (path / NAME).exists() else PLAN
            return read_manifest(path, name).extraction
        if not path.exists():
            return journalled_extraction(journal_of(path))
        if first_defect(path):
            return None
        with opened(path) as file:
            return document(file, "extraction")
    except (OSError, StoreError, ValueError, KeyError, TypeError):
        return None
