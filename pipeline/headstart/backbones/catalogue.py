"""The list of all networks, cached on disk so that listing them loads no library.

Listing takes seconds with torchvision and timm, which import torch, and half a minute with Keras,
whose networks must be built. The answer depends on the library's version alone, so it is cached for
each version. The package ships Keras' list for one version (``keras-VERSION.json``) and, in
``facts.csv``, the figures that no library gives: parameters, multiply-adds and features.
``benchmarks/backbone_facts.py`` writes both files.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from headstart.core.errors import OutputError
from headstart.core.files import replacing

VERSION = 1  # of the cached records


@dataclass(frozen=True)
class Entry:
    """One network with one set of published weights, or with none.

    Attributes:
        name: as the user spells it; ``architecture`` is the library's spelling.
        size: height and width of the input, in pixels.
        licence: of the weights; empty if the library gives none.
        url: of the weights; empty if none were published.
        file: name of the weights in the library's cache.
        repo: Hugging Face repository that contains ``url``; empty for a plain address.
        revision: commit of that repository; empty for the newest.
        sha256: of the file, or its first digits; empty if unknown.
        md5: of the file, if that is the hash that the library publishes.
        accuracy: ImageNet-1k top-1 accuracy in percent, if the library gives it.
        default: whether the architecture without a tag means these weights.
        gmacs: 10⁹ multiply-adds for one image; like ``parameters``, with the classifier.
        features: length of the feature vector that the classifier reads.
    """

    name: str
    architecture: str
    size: tuple[int, int]
    licence: str = ""
    url: str = ""
    file: str = ""
    repo: str = ""
    sha256: str = ""
    md5: str = ""
    accuracy: float | None = None
    default: bool = True
    parameters: int | None = None
    gmacs: float | None = None
    features: int | None = None
    revision: str = ""

    @property
    def base(self) -> str:
        """The name without its tag, which stands for the default weights."""
        provider, colon, rest = self.name.partition(":")
        return f"{provider}:{rest.split('@')[0].split('.')[0]}" if colon else self.name


def kept(provider: str, version: str, ask: Callable[[], Sequence[Entry]]) -> list[Entry]:
    """Return a provider's entries, asking the library only if no cache has this version."""
    name = f"{provider}-{version}-{VERSION}.json".replace("/", "-")
    from platformdirs import user_cache_path  # imported here, because predicting works without it

    path = user_cache_path("headstart") / "catalogue" / name
    shipped = files("headstart.backbones") / f"{provider}-{version}.json"
    for place in (path, shipped):
        try:
            return list(_entries(place.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    entries = list(ask())
    try:
        with replacing(path) as partial:
            text = json.dumps([dataclasses.asdict(entry) for entry in entries])
            partial.write_text(text, encoding="utf-8")
    except OutputError:
        pass  # a cache that cannot be written costs time, nothing else
    return [with_facts(entry) for entry in entries]


def matching(entries: Sequence[Entry], query: str) -> list[Entry]:
    """Return the entries whose name, architecture or licence contains every word of a query."""
    words = query.lower().split()
    return [
        entry
        for entry in entries
        if all(
            word in f"{entry.name} {entry.architecture} {entry.licence}".lower() for word in words
        )
    ]


def with_facts(entry: Entry) -> Entry:
    """Fill in the figures of ``facts.csv`` for an entry's architecture and size."""
    architecture = entry.base if ":" in entry.base else f"timm:{entry.architecture}"
    fact = _facts().get((architecture, *entry.size))
    if fact is None:
        return entry
    return dataclasses.replace(
        entry, **{name: getattr(entry, name) or figure for name, figure in fact.items()}
    )


def hash_in(file: str) -> str:
    """Return the first digits of the SHA-256 that torch's files have in their names, or nothing.

    >>> hash_in("resnet18-f37072fd.pth")
    'f37072fd'
    """
    digits = re.search(r"-([0-9a-f]{8,64})\.", file)
    return digits[1] if digits else ""


@lru_cache(maxsize=4)  # each look-up of a name reads a list of a thousand
def _entries(text: str) -> tuple[Entry, ...]:
    rows = json.loads(text)
    return tuple(with_facts(Entry(**row | {"size": tuple(row["size"])})) for row in rows)


@cache
def _facts() -> dict[tuple[str, int, int], dict[str, Any]]:
    with (files("headstart.backbones") / "facts.csv").open(encoding="utf-8") as file:
        return {
            (row["architecture"], int(row["height"]), int(row["width"])): {
                "parameters": int(row["parameters"]),
                "gmacs": float(row["gmacs"]),
                "features": int(row["features"]),
            }
            for row in csv.DictReader(file)
        }
