"""The manifest that makes a folder of store files one store.

Each shard is an ordinary, sealed store file. The manifest lists the shards in the order of their
rows, with the rows and the seal of each. It is written last, in one rename, and no listed file is
ever written again. Files that no manifest lists are work in progress.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.core.errors import StoreError, one_line
from headstart.core.files import write_text
from headstart.core.targets import SINGLE_LABEL
from headstart.features.store.columns import FORMAT

NAME = "manifest.json"
PLAN = "plan.json"  # during a run: the next manifest, without its files
KIND = f"{FORMAT}-folder"
VERSION = 2
_FILE = re.compile(r"shard-[0-9a-z]+\.[0-9]+\.h5")
_WRITTEN = re.compile(rf"\.?{_FILE.pattern}(\.journal|\.lock|\.[0-9]+\.partial)?")


@dataclass(frozen=True)
class Shard:
    """One file of a folder that is a store; ``seal`` is the SHA-256 in its seal, in hex."""

    file: str
    rows: int
    failures: int
    seal: str


@dataclass(frozen=True)
class Manifest:
    """The description of a folder of store files.

    Attributes:
        extraction: the identity document of the features; ``digest`` is its hash.
        classes: class names of all shards.
        shards: the files, in the order of their rows.
        listing: ``images`` and ``digest`` of what was listed, and ``shard_size``.
        run: facts about the run that made it.
        certificate: the backbone's parity certificate; may be empty.
        generation: counts the manifests of this folder; part of the names of its new files.
        target: the name of what is predicted, see `headstart.core.targets`.
    """

    extraction: dict[str, Any]
    digest: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    listing: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    certificate: str = ""
    generation: int = 1
    target: str = SINGLE_LABEL

    @property
    def rows(self) -> int:
        """Images in all shards."""
        return sum(shard.rows for shard in self.shards)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False if it cannot be looked up."""
    try:
        return path.is_dir()
    except OSError:  # no permission, or a name that is too long
        return False


def of(path: Path) -> Manifest | None:
    """Return the manifest of a store that is a folder, or None if it is one file."""
    return read(path) if is_folder(path) else None


def files(path: Path) -> list[Path]:
    """Return the files that make up a store, in the order of their rows: itself, or its shards."""
    whole = of(path)
    return [path / shard.file for shard in whole.shards] if whole else [path]


def read(folder: Path, name: str = NAME) -> Manifest:
    """Read the manifest of a folder.

    Raises:
        StoreError: there is none, or it is not what was written.
    """
    path = folder / name
    try:
        document = json.loads(path.read_bytes())
        stored = document["store"]
        if document["format"] != KIND or document["version"] not in range(1, VERSION + 1):
            raise StoreError(
                f"{one_line(path)} is not a manifest of version {VERSION}, or an earlier one, of a "
                "feature store"
            )
        if document["sha256"] != _digest(stored):
            raise StoreError(
                f"{one_line(path)} changed after it was written (its checksum is wrong); move it "
                "away and run the same headstart features again: the shards are kept"
            )
        stored["shards"] = tuple(Shard(**shard) for shard in stored["shards"])
        stored["classes"] = tuple(stored["classes"])
        manifest = Manifest(**stored)
    except FileNotFoundError:
        raise StoreError(_unfinished(folder)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{one_line(path)} cannot be read: {one_line(error)}") from error
    for shard in manifest.shards:
        if Path(shard.file).name != shard.file or shard.file.startswith("."):
            raise StoreError(f"{one_line(path)} names a file elsewhere: {one_line(shard.file)}")
    return manifest


def write(folder: Path, manifest: Manifest, name: str = NAME) -> None:
    """Write a manifest into a folder, in one rename."""
    stored = dataclasses.asdict(manifest)
    version = VERSION
    if manifest.target == SINGLE_LABEL:  # earlier releases read these, and know no other
        version = 1
        del stored["target"]
    document = {"format": KIND, "version": version, "sha256": _digest(stored), "store": stored}
    write_text(folder / name, json.dumps(document, ensure_ascii=True) + "\n")


def file_name(key: str, generation: int) -> str:
    """Return the name of a shard's file.

    >>> file_name("first", 2), key_of("shard-first.2.h5")
    ('shard-first.2.h5', 'first')
    """
    return f"shard-{key}.{generation}.h5"


def key_of(file: str) -> str:
    """Return the key in the name of a shard's file."""
    return file.removeprefix("shard-").partition(".")[0]


def shard_files(folder: Path) -> list[Path]:
    """Return every finished shard in a folder, whether the manifest names it or not."""
    return [path for path in sorted(folder.iterdir()) if _FILE.fullmatch(path.name)]


def leftovers(folder: Path) -> list[Path]:
    """Return everything in a folder that writing shards can leave there, finished ones included."""
    return [path for path in sorted(folder.iterdir()) if _WRITTEN.fullmatch(path.name)]


def _digest(stored: dict[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps(stored, sort_keys=True, ensure_ascii=True).encode()
    ).hexdigest()


def _unfinished(folder: Path) -> str:
    if (folder / PLAN).exists():
        return f"{one_line(folder)} is not finished; the same headstart features command resumes it"
    return (
        f"no feature store in {one_line(folder)} (it has no {NAME}); create one with: headstart "
        "features"
    )
