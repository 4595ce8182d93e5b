"""ONNX files from elsewhere, ``onnx:PATH[#NODE]``, imported in a sandbox by `onnx_import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.backbones.layers import Layer, LayerList
from headstart.backbones.onnx_import import recipe as recipes
from headstart.backbones.onnx_import.request import FILE, ImportRequest
from headstart.core import sandbox
from headstart.core.errors import BackboneError, one_line
from headstart.core.records import Choice

NAME = "onnx"
RULES = 2  # version of those by which `onnx_import` chooses what the user leaves out
_LAYERS = "headstart.backbones.onnx_import.steps:list_tensors"
_SURVEY = "headstart.backbones.onnx_import.survey:survey"
_IDENTITY = "headstart.backbones.onnx_import.steps:identify"


@dataclass(frozen=True)
class Foreign:
    """A network that is an ONNX graph already, as the user chose it.

    ``sha256`` is the hash of the file with its external data.
    """

    path: Path
    request: ImportRequest
    sha256: str

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.request.name

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the exported file."""
        return self.request.to_json() | {"weights": self.sha256, "rules": RULES}


def find(choice: Choice) -> Foreign:
    """Return the file that a user means, hashed in the sandbox but not loaded here."""
    path, node = split(choice.name)
    if choice.weights:
        raise BackboneError("an ONNX file has its weights inside; leave --weights out")
    if node and choice.layer and node != choice.layer:
        raise BackboneError(
            f"#{one_line(node)} and --layer {one_line(choice.layer)} name two places; give one"
        )
    if choice.layers:
        raise BackboneError("an ONNX file has features of one layer; give one --layer")
    recipe = recipes.read(choice.preprocess) if choice.preprocess else None
    sha256 = str(sandbox.call(_IDENTITY, path, kind=FILE))
    name = f"{NAME}:{one_line(path.name)}"
    where = node or choice.layer, choice.pool
    request = ImportRequest(name, *where, recipe, choice.size, choice.fit == "whole")
    return Foreign(path, request, sha256)


def list_layers(name: str, preprocess: str = "") -> LayerList:
    """Return the tensors of a file that can serve as features."""
    path, _ = split(name)
    recipe = recipes.read(preprocess).to_json() if preprocess else ""
    documents = sandbox.call(_LAYERS, path, kind=FILE, options=recipe)
    layers = [Layer(**document | {"shape": tuple(document["shape"])}) for document in documents]
    described = survey(name, preprocess)
    first = {document["name"] for document in described["layers"]}
    worth_trying = [layer for layer in reversed(layers) if layer.name in first]
    return LayerList(layers, described["layer"], worth_trying)


def survey(name: str, preprocess: str = "") -> dict[str, Any]:
    """Return what a file is and what to try first; see `onnx_import.survey`."""
    path, _ = split(name)
    recipe = recipes.read(preprocess).to_json() if preprocess else ""
    document: dict[str, Any] = sandbox.call(_SURVEY, path, kind=FILE, options=recipe)
    return document


def split(name: str) -> tuple[Path, str]:
    """Return the file and the node of ``onnx:PATH#NODE``; both may contain a ``#``."""
    whole = name.partition(":")[2]
    parts = whole.split("#")
    for count in range(len(parts), 0, -1):
        path = Path("#".join(parts[:count]))
        try:
            if path.is_file():
                return path.resolve(), "#".join(parts[count:])
        except (OSError, ValueError):  # no permission, too long a name, a zero byte
            continue
    raise BackboneError(
        f"no ONNX file at {one_line(parts[0]) or 'an empty path'}; give onnx:PATH or onnx:PATH#NODE"
    )
