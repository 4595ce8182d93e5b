"""Networks worth trying first for a kind of images, with what their owners say of them.

``shortlist.csv`` has the facts: for whom a licence allows what is stated there as it stood when the
row was written, so read the licence itself before you sell anything.
"""

from __future__ import annotations

import csv
import shlex
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from headstart import backbones
from headstart.backbones.cache import hub_folder
from headstart.core.errors import HeadstartError, one_line

_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Suggestion:
    """One network for one kind of images.

    Attributes:
        name: as ``--backbone`` takes it.
        commercial: whether its licence allows commercial use: ``yes``, ``no``, ``under its terms``,
            or ``ask`` if its owner states no licence.
        parameters: of the image network, in millions.
        download_mb: what has to be fetched, 10⁶ bytes.
        access: ``built in``, ``open``, or ``gated``: its owner asks who you are.
    """

    kind: str
    name: str
    licence: str
    commercial: str
    trained_on: str
    parameters: float
    download_mb: int
    access: str

    @property
    def repository(self) -> str:
        """Its repository on the Hugging Face hub; empty for the network in the package."""
        if self.access == "built in":
            return ""
        rest = self.name.rpartition(":")[2]
        return rest if "/" in rest else f"timm/{rest}"

    @property
    def is_here(self) -> bool:
        """Whether its weights are on this machine."""
        if not self.repository:
            provider = backbones.provider_of(self.name)
            entry = provider.find(self.name)
            return entry is not None and provider.is_available(entry)
        try:
            snapshots = hub_folder(self.repository) / "snapshots"
        except HeadstartError:  # a light installation, which fetches nothing
            return False
        return any(path.suffix in _WEIGHTS for path in snapshots.glob("*/*"))

    @property
    def commands(self) -> list[str]:
        """The commands that fetch it, for a machine with a network."""
        ask = [f"# ask for access at https://huggingface.co/{self.repository}, then: hf auth login"]
        fetch = f"hf download {shlex.quote(self.repository)}"
        return [*(ask if self.access == "gated" else []), fetch] if self.repository else []


@cache
def every() -> tuple[Suggestion, ...]:
    """Return all suggestions, in the order of the table."""
    with (files("headstart.backbones") / "shortlist.csv").open(encoding="utf-8") as file:
        return tuple(map(_suggestion, csv.DictReader(file)))


def _suggestion(row: dict[str, Any]) -> Suggestion:
    figures = {"parameters": float(row["parameters"]), "download_mb": int(row["download_mb"])}
    return Suggestion(**row | figures)


def of(kind: str) -> list[Suggestion]:
    """Return the suggestions for a kind of images; see `headstart.core.choices.SHORTLISTS`."""
    return [each for each in every() if each.kind == kind]


def fetch(suggestion: Suggestion) -> str:
    """Fetch a network's weights, and return why that failed; empty if it did not."""
    try:
        backbones.find(suggestion.name)
    except HeadstartError as error:  # also where its library is not installed
        return one_line(error)
    return ""
