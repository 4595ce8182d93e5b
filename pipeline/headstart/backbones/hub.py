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
from pathlib import Path
from typing import Any

from headstart.backbones import cache, shards
from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError, missing_extra, one_line
from headstart.core.torchvision_import import EXTRA

PREFIX = "hf-hub:"
CONFIGS = ("config.json", "open_clip_config.json")  # of every library that keeps networks there
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CARD = "README.md"
_LARGEST = 2**20  # bytes of a configuration or a card


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

    def first(self, files: Sequence[str]) -> str:
        """Return the name of the first of these files that the commit has; empty for none of them.

        Large files are asked for, not fetched. Without the hub it is the first that is on this
        machine, where ``hf download`` leaves no word of those that the commit lacks.
        """
        try:
            return next((file for file in files if self._has(file)), "")
        except BackboneError:
            here = next((file for file in files if self._cached(file)), "")
            if not here:
                raise
            return here

    @property
    def licence(self) -> str:
        """The licence that the model's card states; empty if it states none."""
        try:
            path = self.path(_CARD)
        except BackboneError:  # a cache that another program filled may lack the card
            path = None
        card = re.match(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", _text(path), re.DOTALL) if path else None
        if card is None:
            return ""
        stated = {
            key: value.strip().strip("\"'")
            for key, value in re.findall(
                r"(?m)^(license|license_name):[ \t]*(?:\n[ \t]*-[ \t]+)?(\S.*)$", card[1]
            )
        }
        licence = stated.get("license", "")
        return one_line(stated.get("license_name", licence) if licence == "other" else licence)

    def url(self, file: str) -> str:
        """Return the address of a file of the commit."""
        hub = _hub()
        return str(hub.hf_hub_url(self.name, file, revision=self.commit))

    def _cached(self, file: str) -> Path | None:
        cached = _hub().try_to_load_from_cache(self.name, file, revision=self.commit)
        return Path(cached) if isinstance(cached, str) else None

    def _has(self, file: str) -> bool:
        hub = _hub()
        cached = hub.try_to_load_from_cache(self.name, file, revision=self.commit)
        if cached is not None or self.offline:
            return isinstance(cached, str)
        try:
            with cache.server_timeout():
                hub.get_hf_file_metadata(self.url(file))
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
    for file in files:
        path = _fetch(repository, file, revision or "main")
        if path is not None:
            commit = path.relative_to(cache.hub_folder(repository) / "snapshots").parts[0]
            return Repository(repository, commit)
    raise BackboneError(
        f"{repository} has no {' or '.join(files)}; it holds another kind of network"
    )


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
    hub = _hub()
    cached = hub.try_to_load_from_cache(repository, file, revision=revision)
    if cached is not None:
        return Path(cached) if isinstance(cached, str) else None
    try:
        with cache.server_timeout():
            return cache.download(repository, file, revision)
    except hub.errors.LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError
        raise _failure(repository, revision, error) from error
    except hub.errors.EntryNotFoundError:
        return None
    except Exception as error:  # any network error
        raise _failure(repository, revision, error) from error


def _failure(repository: str, revision: str, error: Exception) -> BackboneError:
    """Return what is wrong with a repository in words that say what to do."""
    hub = _hub()
    page = f"{hub.constants.ENDPOINT}/{repository}"
    if isinstance(error, hub.errors.GatedRepoError):
        return BackboneError(
            f"{repository} is gated: ask for access at {page}, then log in with hf auth login, or "
            "set HF_TOKEN"
        )
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return BackboneError(
            f"{repository} has no revision {one_line(revision)}; see {page}/commits/main"
        )
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return BackboneError(
            f"there is no repository {page}, or it is private; check the spelling, or log in with "
            "hf auth login"
        )
    option = "" if revision == "main" else f" --revision {one_line(revision)}"
    return BackboneError(
        f"{repository} is not on this machine and cannot be fetched ({one_line(error)[:240]}); "
        f"run hf download {repository}{option} on a machine with a network, and copy "
        f"{cache.hub_folder(repository)} from there"
    )


def _text(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise BackboneError(f"{path.name} in {one_line(path.parent)} is larger than 1 MiB")
    return path.read_text(encoding="utf-8", errors="replace")


def _hub() -> Any:  # noqa: ANN401
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise missing_extra("huggingface_hub", EXTRA) from error
    return huggingface_hub
