"""The base class of providers whose networks are all in repositories of the hub."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from headstart.backbones import hub
from headstart.backbones.catalogue import Entry
from headstart.backbones.hub import Repository
from headstart.backbones.provider import Provider
from headstart.core.errors import BackboneError, missing_extra

CHANNELS = 3


class HubProvider(Provider):
    """Networks named ``PREFIX:ORGANISATION/NAME[@REVISION]``.

    Attributes:
        config: the file that describes a network.
        files: names of weights, the first of which is taken.
    """

    config: str
    files: tuple[str, ...]

    @abstractmethod
    def architecture(self, config: dict[str, Any]) -> str:
        """Return what a configuration calls its network; empty if it is another library's."""

    @abstractmethod
    def input_size(self, repository: Repository, config: dict[str, Any]) -> tuple[int, int]:
        """Return the height and the width of the images that a network takes."""

    def entries(self) -> Iterable[Entry]:
        """Return nothing: the hub has no list of what would fit."""
        return ()

    def list_entries(self) -> list[Entry]:
        """Return nothing, whether the library is installed or not."""
        return []

    def recognise(self, repository: Repository) -> str:
        """Return the name of this provider's network in a repository; empty if there is none."""
        config = repository.json_or_none(self.config)
        return f"{self.prefix}:{repository}" if config and self.architecture(config) else ""

    def find(self, name: str) -> Entry | None:
        """Return the network in a repository, named with its commit.

        Raises:
            BackboneError: it holds none of this library's, or cannot be fetched.
            HeadstartError: the library is not installed.
        """
        from importlib.metadata import PackageNotFoundError, version

        for package in self.packages:
            try:
                version(package)
            except PackageNotFoundError as error:
                raise missing_extra(package, self.extra) from error
        repository = hub.open_repository(name.partition(":")[2], [self.config])
        entry = self.entry_in(repository)
        if entry is None:
            raise BackboneError(
                f"{repository.name} holds no network of {self.prefix}; try "
                f"{hub.PREFIX}{repository.name}"
            )
        return entry

    def entry_in(self, repository: Repository) -> Entry | None:
        """Return the network in a repository; None if it is another library's."""
        config = repository.json_or_none(self.config) or {}
        architecture = self.architecture(config)
        if not architecture:
            return None
        try:
            size = self.input_size(repository, config)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BackboneError(
                f"{repository.name} gives no size of images that is the same for all; choose "
                "another backbone"
            ) from error
        name = f"{self.prefix}:{repository}"
        return hub.entry(repository, self.files, name=name, architecture=architecture, size=size)
