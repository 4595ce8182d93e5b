"""The base class of providers, the sources of networks.

To add a provider, write a subclass of `Provider` and call `headstart.backbones.register`.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

from headstart.backbones import cache, catalogue, weights
from headstart.backbones.catalogue import Entry
from headstart.backbones.hub import Repository
from headstart.backbones.layers import OWN, PRE_LOGITS
from headstart.backbones.network import Network
from headstart.backbones.weights import Weights
from headstart.core.errors import HeadstartError, missing_extra, one_line


class Provider(ABC):
    """A source of pretrained networks. A subclass must define `entries` and `build`.

    Attributes:
        prefix: what stands before the colon in the names of its backbones.
        packages: the distributions whose versions determine the list of entries, the library first.
            The list is cached for each version; without packages it is made anew every time.
        library: what builds the networks, for descriptions; the first package by default.
        extra: the optional dependency of Headstart that installs the packages; empty if none.
        own_layer: layer and pooling that the networks' own classifiers read.
        default_layer: where features are taken if the user names no layer; empty is ``own_layer``.
        trainable: whether torch can train the networks further.
    """

    prefix: str
    packages: tuple[str, ...] = ()
    library: str = ""
    extra: str = ""
    own_layer: tuple[str, str] = (PRE_LOGITS, OWN)
    default_layer: str = ""
    trainable: bool = True

    @abstractmethod
    def entries(self) -> Iterable[Entry]:
        """Ask the library for everything that it offers; may load it."""

    @abstractmethod
    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build a network with its weights, or raise `BackboneError` if they do not fit."""

    def list_entries(self) -> list[Entry]:
        """Return everything that is offered, without loading the library if the list is cached.

        Raises:
            HeadstartError: a package is not installed, or cannot be used in this process.
        """
        from importlib.metadata import PackageNotFoundError, version

        if not self.packages:
            return [catalogue.with_facts(entry) for entry in self.entries()]
        try:
            versions = "-".join(version(name) for name in self.packages)
        except PackageNotFoundError as error:
            package = one_line(error.name)
            if self.extra:
                raise missing_extra(package, self.extra) from error
            raise HeadstartError(
                f"{package} is not installed; install it with: pip install {package}"
            ) from error
        return catalogue.kept(self.prefix, versions, lambda: list(self.entries()))

    def find(self, name: str) -> Entry | None:
        """Return the entry that a user means by a name; None if there is none."""
        for entry in self.list_entries():
            if name == entry.name or (entry.default and name == entry.base):
                return entry
        return None

    def recognise(self, repository: Repository) -> str:
        """Return the name of this provider's network in a repository; empty if there is none."""
        return ""

    def entry_in(self, repository: Repository) -> Entry | None:
        """Return this provider's network in a repository; None if there is none.

        Raises:
            BackboneError: it is broken, or cannot be fetched.
        """
        return None

    def resolve(self, entry: Entry, spec: str, entries: Sequence[Entry]) -> Weights:
        """Find the weights that a user means, fetching published ones; see `weights.resolve`."""
        return weights.resolve(entry, spec, entries, self.fetch)

    def is_available(self, entry: Entry) -> bool:
        """Say whether a network's published weights are on this machine."""
        return cache.cached(entry, self.cache_path(entry)) is not None

    def cache_path(self, entry: Entry) -> Path:
        """Return where the library stores a downloaded file; by default, torch's folder.

        Files in repositories of Hugging Face (`Entry.repo`) are in the hub's own cache instead.
        """
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        home = os.environ.get("TORCH_HOME") or f"{home}/torch"
        return Path(home).expanduser() / "hub" / "checkpoints" / entry.file  # torch.hub.get_dir

    def fetch(self, entry: Entry) -> Path:
        """Return the file of the published weights, downloading it if it is not on this machine."""
        return cache.fetch(entry, self.cache_path(entry), self.download)

    def download(self, entry: Entry, path: Path) -> None:
        """Download the published weights to ``path``, and check their hash."""
        import torch

        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            entry.url, str(path), hash_prefix=entry.sha256 or None, progress=sys.stderr.isatty()
        )
