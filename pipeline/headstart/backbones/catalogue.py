"""What there is: one record a set of weights, kept on disk so that listing loads no library.

Asking torchvision and timm takes seconds, because they import torch, and asking Keras half a
minute, because only its built networks tell. The answer depends on their version alone, so it is
read once and kept in the user's cache; Keras' comes with the package for one version, in
``keras-VERSION.json``. What no library says (parameters, multiply-adds, features) is in
``facts.csv``. ``benchmarks/backbone_facts.py`` writes both files.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from headstart.core.errors import OutputError
from headstart.core.files import replacing

VERSION = 1  # of the kept records


@dataclass(frozen=True)
class Entry:
    """One network with one set of published weights, or with none.

    Attributes:
        name: as the user spells it.
        architecture: as the library spells it.
        size: height and width of the input, in pixels.
        licence: of the weights, as the library gives it; empty if it gives none.
        url: where the weights officially are; empty if none were published.
        file: their file's name in the library's cache.
        repo: the Hugging Face repository that ``url`` lies in; empty if it is a plain address.
        sha256: the hash of the file, or its first digits, where known beforehand.
        md5: the hash of the file where the library publishes that one; empty if it does not.
        accuracy: ImageNet-1k top-1 accuracy in percent, where the library knows it.
        default: whether the architecture without a tag means these weights.
        parameters: how many, the classifier's included.
        gmacs: 10⁹ multiply-adds for one image, the classifier's included.
        features: length of the feature vector that the classifier gets.
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

    @property
    def base(self) -> str:
        """The name without the weights' tag: what stands for the default weights."""
        provider, colon, rest = self.name.partition(":")
        return f"{provider}:{rest.split('@')[0].split('.')[0]}" if colon else self.name


def kept(provider: str, version: str, ask: Callable[[], Sequence[Entry]]) -> list[Entry]:
    """Return a provider's entries, asking the library only if this version never was."""
    name = f"{provider}-{version}-{VERSION}.json".replace("/", "-")
    from platformdirs import user_cache_path  # which predicting does without

    path = user_cache_path("headstart") / "catalogue" / name
    shipped = files("headstart.backbones") / f"{provider}-{version}.json"
    for place in (path, shipped):
        try:
            rows = json.loads(place.read_text(encoding="utf-8"))
            return [with_facts(Entry(**row | {"size": tuple(row["size"])})) for row in rows]
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
    """Return the entries whose name, licence or architecture holds every word of a query."""
    words = query.lower().split()
    return [
        entry
        for entry in entries
        if all(
            word in f"{entry.name} {entry.architecture} {entry.licence}".lower() for word in words
        )
    ]


def with_facts(entry: Entry) -> Entry:
    """Add the figures in ``facts.csv`` for an entry's architecture at its size."""
    architecture = entry.base if ":" in entry.base else f"timm:{entry.architecture}"
    fact = _facts().get((architecture, *entry.size))
    if fact is None:
        return entry
    return dataclasses.replace(
        entry,
        parameters=entry.parameters or fact["parameters"],
        gmacs=entry.gmacs or fact["gmacs"],
        features=entry.features or fact["features"],
    )


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
