"""Repositories of the Hugging Face hub: one commit of one, its files and its licence.

A commit that is in the hub's cache is used without asking the hub, so a name without a revision
means the commit that was fetched first. The hub's variables apply (see `cache`), and
``HF_ENDPOINT`` and ``HF_TOKEN``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headstart.backbones import cache, card, hub_errors, shards
from headstart.backbones.catalogue import Entry
from headstart.backbones.hub_errors import UnreachableError
from headstart.core.errors import BackboneError, one_line

PREFIX = "hf-hub:"
CONFIGS = ("config.json", "open_clip_config.json")  # of every library that keeps networks there
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CARD = "README.md"
_ADDRESS = "https://huggingface.co"  # of files in descriptions, whichever mirror they came from
_LARGEST = 2**20  # bytes of a configuration
_LONGEST = 200  # characters of a name with its revision; the hub's own have 96


@dataclass(frozen=True)
class Repository:
    """One commit of a repository.

    Attributes:
        name: ``ORGANISATION/NAME``.
        commit: 40 hexadecimal digits.
        offline: whether files that are not on this machine count as missing.
    """

    name: str
    commit: str
    offline: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        """Return ``ORGANISATION/NAME@COMMIT``, which `open_repository` reads."""
        return f"{self.name}@{self.commit}"

    def path(self, file: str) -> Path | None:
        """Return a file of the commit, fetched if it is not on this machine; None if it has none.

        Raises:
            BackboneError: the file cannot be fetched.
        """
        if self.offline:
            return self._cached(file)
        return _fetch(self.name, file, self.commit)

    def json(self, file: str) -> dict[str, Any]:
        """Return a JSON document of the commit.

        Raises:
            BackboneError: there is no such file, it cannot be fetched, or it is no JSON object.
        """
        path = self.path(file)
        if path is None:
            raise BackboneError(f"{self.name} has no {file}; it holds another kind of network")
        try:
            document = json.loads(_text(path))
        except ValueError as error:
            raise BackboneError(f"{file} of {self.name} is broken: {one_line(error)}") from error
        if not isinstance(document, dict):
            raise BackboneError(f"{file} of {self.name} is broken: it is no JSON object")
        return document

    def json_or_none(self, file: str) -> dict[str, Any] | None:
        """Return a JSON document of the commit; None if there is no such file."""
        return self.json(file) if self.path(file) is not None else None

    def optional(self, file: str) -> dict[str, Any] | None:
        """Return a JSON document of the commit; None if the hub or the cache shows none.

        ``hf download`` leaves no word of files that the commit lacks, so without the hub a file
        that is not on this machine counts as one that it lacks.
        """
        try:
            return self.json_or_none(file)
        except UnreachableError:
            return None

    def first(self, files: Sequence[str]) -> str:
        """Return the name of the first of these files that the commit has; empty for none of them.

        Large files are asked for, not fetched. Without the hub it is the first that is on this
        machine.
        """
        try:
            return next((file for file in files if self._has(file)), "")
        except UnreachableError:
            here = next((file for file in files if self._cached(file)), "")
            if not here:
                raise
            return here

    @property
    def licence(self) -> str:
        """The licence that the model's card states; empty if it states none."""
        try:
            path = self.path(_CARD)
        except UnreachableError:  # a cache that another program filled may lack the card
            path = None
        return card.licence_of(path) if path else ""

    def url(self, file: str) -> str:
        """Return the address of a file of the commit, the same on every mirror of the hub."""
        path = f"{self.name}/resolve/{self.commit}/{quote(file)}"
        return f"{_ADDRESS}/{path}"

    def _cached(self, file: str) -> Path | None:
        return _from_cache(self.name, file, self.commit)[0]

    def _has(self, file: str) -> bool:
        path, is_known = _from_cache(self.name, file, self.commit)
        if is_known or self.offline:
            return path is not None
        hub = hub_errors.library()
        try:
            with cache.server_timeout():
                hub.get_hf_file_metadata(hub.hf_hub_url(self.name, file, revision=self.commit))
        except hub.errors.EntryNotFoundError:
            return False
        except Exception as error:  # any network error
            raise _failure(self.name, self.commit, error) from error
        return True


def open_repository(name: str, files: Sequence[str]) -> Repository:
    """Return the commit that ``ORGANISATION/NAME[@REVISION]`` means.

    A revision may be a branch, a tag or a commit. ``files`` are configurations, one of which the
    repository must have.

    Raises:
        BackboneError: it does not exist, is gated, has none of these files, or is not on this
            machine and cannot be fetched.
    """
    repository, separator, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(repository) or (separator and not revision):
        raise BackboneError(
            f"{one_line(name)!r} is no repository of the Hugging Face hub; write "
            "ORGANISATION/NAME, or ORGANISATION/NAME@REVISION"
        )
    revision = revision or "main"
    # ``hf download`` leaves no word of files that a repository lacks, so all are looked for here
    # before the hub is asked for the first.
    paths = (_from_cache(repository, file, revision)[0] for file in files)
    fetched = (_fetch(repository, file, revision) for file in files)
    path = next((path for path in chain(paths, fetched) if path is not None), None)
    if path is None:
        raise BackboneError(
            f"{repository} has no {' or '.join(files)}; it holds another kind of network"
        )
    commit = path.relative_to(cache.hub_folder(repository) / "snapshots").parts[0]
    return Repository(repository, commit)


def repository_in(name: str) -> str:
    """Return the ``ORGANISATION/NAME`` that somebody may mean by a name or an address, or nothing.

    >>> repository_in("https://huggingface.co/lab/cells"), repository_in("timm:lab/cells@v1")
    ('lab/cells', 'lab/cells@v1')
    """
    rest = re.sub(r"^(\w+://[^/]+/|\w[\w-]*:)+", "", name).rstrip("/")
    if len(rest) > _LONGEST or not _REPOSITORY.fullmatch(rest.partition("@")[0]):
        return ""
    is_path = rest.startswith(".") or Path(rest).suffix == ".onnx" or Path(rest).exists()
    return "" if is_path else rest


def on_this_machine() -> Iterator[tuple[str, Repository]]:
    """Yield every commit in the hub's cache, with the shortest name that means it."""
    for folder in sorted(cache.hub_folder("a/b").parent.glob("models--*--*/snapshots/*")):
        organisation, separator, rest = folder.parts[-3].removeprefix("models--").partition("--")
        name = f"{organisation}/{rest}"
        if separator and _REPOSITORY.fullmatch(name):
            newest = _fetched_first(folder.parents[1]) == folder.name
            repository = Repository(name, folder.name, offline=True)
            yield name if newest else str(repository), repository


def _fetched_first(folder: Path) -> str:
    try:
        return (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def entry(
    repository: Repository,
    weights: Sequence[str],
    *,
    name: str,
    architecture: str,
    size: tuple[int, int],
) -> Entry:
    """Return the entry of a repository's network, whose weights are the first of these files.

    Each of them may be an index of several files; see `shards`.
    """
    file = repository.first(shards.with_index(weights))
    return Entry(
        name=name,
        architecture=architecture,
        size=size,
        licence=repository.licence,
        url=repository.url(file) if file else "",
        file=file,
        repo=repository.name,
        revision=repository.commit,
    )


def _fetch(repository: str, file: str, revision: str) -> Path | None:
    path, is_known = _from_cache(repository, file, revision)
    if is_known:
        return path
    hub = hub_errors.library()
    try:
        with cache.server_timeout():
            return cache.download(repository, file, revision)
    except hub.errors.LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError
        raise _failure(repository, revision, error) from error
    except hub.errors.EntryNotFoundError:
        return None
    except Exception as error:  # any network error
        raise _failure(repository, revision, error) from error


def _from_cache(repository: str, file: str, revision: str) -> tuple[Path | None, bool]:
    """Return a file of the cache, and whether that is sure: None may be what nobody asked for."""
    cached = hub_errors.library().try_to_load_from_cache(repository, file, revision=revision)
    return Path(cached) if isinstance(cached, str) else None, cached is not None


def _failure(repository: str, revision: str, error: Exception) -> BackboneError:
    return hub_errors.failure(repository, revision, cache.hub_folder(repository), error)


def _text(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise BackboneError(f"{path.name} in {one_line(path.parent)} is larger than 1 MiB")
    return path.read_text(encoding="utf-8-sig", errors="replace")
