"""What to import from an ONNX file, and what the sandbox that reads it may use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from headstart.backbones.onnx_import.recipe import Pair, Recipe
from headstart.core.errors import BackboneError
from headstart.core.sandbox import Kind

FILE = Kind("ONNX file", BackboneError, seconds=120, memory=6 << 30, copies=12)


@dataclass(frozen=True)
class ImportRequest:
    """What to import from a file.

    Attributes:
        node: where to cut; empty leaves it to the graph.
        pool: one of `headstart.core.choices.POOLS`; empty takes the layer's default.
        recipe: how images are prepared; None takes what the input's type suggests.
        size: height and width of images, if the file leaves them open; None for the recipe's.
        whole: whether images keep their proportions.
        original: SHA-256 of the file that the graph was converted from; empty if it is the user's.
    """

    name: str
    node: str = ""
    pool: str = ""
    recipe: Recipe | None = None
    size: Pair | None = None
    whole: bool = False
    original: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `from_json` reads."""
        document = dataclasses.asdict(self)
        added = {key: document.pop(key) for key in ("size", "whole", "original")}
        return document | {key: value for key, value in added.items() if value}

    @staticmethod
    def from_json(document: dict[str, Any]) -> ImportRequest:
        """Rebuild a request from `to_json`."""
        recipe, size = document["recipe"], document.get("size")
        typed = {"recipe": recipe and Recipe.from_json(recipe), "size": size and tuple(size)}
        return ImportRequest(**document | typed)
