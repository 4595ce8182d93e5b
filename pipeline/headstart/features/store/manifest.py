"""The manifest that makes a folder of store files one store.

Each shard is an ordinary store file, sealed and complete under its name. The manifest names them in
the order of their rows, says how many rows each has, and repeats each one's seal; it is written
last, in one rename, and no file that it names is ever written again. So a folder holds the old
store until the new manifest is there, and files that no manifest names are work in progress.
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
from headstart.features.store.columns import FORMAT

NAME = "manifest.json"
PLAN = "plan.json"  # the manifest to be: the same document without files, while a run lasts
KIND = f"{FORMAT}-folder"
VERSION = 1
_FILE = re.compile(r"shard-[0-9a-z]+\.[0-9]+\.h5")
_WRITTEN = re.compile(rf"\.?{_FILE.pattern}(\.journal|\.lock|\.[0-9]+\.partial)?")


@dataclass(frozen=True)
class Shard:
    """One file of a folder that is a store.

    Attributes:
        file: its name in the folder.
        rows: images in it.
        failures: images that could not be embedded.
        seal: the SHA-256 in its seal, in hex.
    """

    file: str
    rows: int
    failures: int
    seal: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of store files says of itself.

    Attributes:
        extraction: the identity document of the features.
        digest: its hash.
        classes: class names of all shards.
        shards: the files, in the order of their rows.
        listing: ``images`` and ``digest`` of what was listed, and ``shard_size``.
        run: facts about the run that made it.
        certificate: the backbone's parity certificate; may be empty.
        generation: counts the manifests of this folder; in the names of the files it brought.
    """

    extraction: dict[str, Any]
    digest: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    listing: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    certificate: str = ""
    generation: int = 1

    @property
    def rows(self) -> int:
        """Images in all shards."""
        return sum(shard.rows for shard in self.shards)


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder; one that cannot be looked up is none."""
    try:
        return path.is_dir()
    except OSError:  # no permission, or a name that is too long
        return False


def of(path: Path) -> Manifest | None:
    """Return the manifest of a store that is a folder, or None if it is one file.

    Raises:
        StoreError: it is a folder without a readable manifest.
    """
    return read(path) if is_folder(path) else None


def files(path: Path) -> list[Path]:
    """Return the files that make up a store, in the order of their rows: itself, or its shards.

    Raises:
        StoreError: it is a folder without a readable manifest.
    """
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
        held = document["store"]
        if document["format"] != KIND or document["version"] != VERSION:
            raise StoreError(
                f"{one_line(path)} is no manifest of version {VERSION} of a feature store"
            )
        if document["sha256"] != _digest(held):
            raise StoreError(
                f"{one_line(path)} is not what was written (its checksum is wrong); run the same "
                "headstart features again once it is moved away: the shards are kept"
            )
        held["shards"] = tuple(Shard(**shard) for shard in held["shards"])
        held["classes"] = tuple(held["classes"])
        manifest = Manifest(**held)
    except FileNotFoundError:
        raise StoreError(_unfinished(folder)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{one_line(path)} cannot be read: {one_line(error)}") from error
    for shard in manifest.shards:
        if Path(shard.file).name != shard.file or shard.file.startswith("."):
            raise StoreError(f"{one_line(path)} names a file elsewhere: {one_line(shard.file)}")
    return manifest


def write(folder: Path, manifest: Manifest, name: str = NAME) -> None:
    """Put a manifest into a folder, in one rename.

    Raises:
        OutputError: it cannot be written.
    """
    held = dataclasses.asdict(manifest)
    document = {"format": KIND, "version": VERSION, "sha256": _digest(held), "store": held}
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


def _digest(held: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _unfinished(folder: Path) -> str:
    if (folder / PLAN).exists():
        return (
            f"{one_line(folder)} is not finished; the same headstart features continues it, and "
            "until then there is nothing to read"
        )
    return (
        f"no feature store in {one_line(folder)} (it has no {NAME}); make one with: headstart "
        "features"
    )
