"""What to import from an ONNX file, and what the sandbox that reads it may use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from headstart.backbones.onnx_import.recipe import Recipe
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
    """

    name: str
    node: str = ""
    pool: str = ""
    recipe: Recipe | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `from_json` reads."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(document: dict[str, Any]) -> ImportRequest:
        """Rebuild a request from `to_json`."""
        recipe = document["recipe"]
        return ImportRequest(**document | {"recipe": recipe and Recipe.from_json(recipe)})
