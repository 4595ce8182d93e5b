"""Network files from elsewhere, ``onnx:PATH[#NODE]``, imported in a sandbox by `onnx_import`.

Files of Keras and TensorFlow are converted first, see `conversion`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headstart.backbones import conversion, other_formats
from headstart.backbones.inference.description import METADATA, read_metadata
from headstart.backbones.layers import Layer, LayerList
from headstart.backbones.onnx_import import recipe as recipes
from headstart.backbones.onnx_import.request import FILE, ImportRequest
from headstart.core import sandbox
from headstart.core.errors import BackboneError, one_line
from headstart.core.records import Choice

NAME = "onnx"
RULES = 3  # version of those by which `onnx_import` chooses what the user leaves out
_LAYERS = "headstart.backbones.onnx_import.steps:list_tensors"
_SURVEY = "headstart.backbones.onnx_import.survey:survey"
_IDENTITY = "headstart.backbones.onnx_import.steps:identify"


@dataclass(frozen=True)
class Foreign:
    """A network that is an ONNX graph already, as the user chose it.

    ``path`` is that of the graph, and ``sha256`` the hash of the file that the user named, with
    its external data; `unhashed` leaves it empty.
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
    foreign = unhashed(choice)
    return foreign if foreign.sha256 else replace(foreign, sha256=_hash_of(foreign.path))


def unhashed(choice: Choice) -> Foreign:
    """Return the file that a user means, without its hash unless it was converted: for a trial."""
    if choice.quality:
        raise BackboneError(
            "--quality is for networks by name; give the size of images for an ONNX file with "
            "--preprocess PRESET:SIZE"
        )
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
    graph, original = _graph(path)
    name = f"{NAME}:{one_line(path.name)}"
    where = node or choice.layer, choice.pool
    request = ImportRequest(name, *where, recipe, choice.size, choice.fit == "whole", original)
    return Foreign(graph, request, original)


def _hash_of(graph: Path) -> str:
    return str(sandbox.call(_IDENTITY, graph, kind=FILE))


def list_layers(name: str, preprocess: str = "") -> LayerList:
    """Return the tensors of a file that can serve as features."""
    path, _ = _graph(split(name)[0])
    recipe = recipes.read(preprocess).to_json() if preprocess else ""
    documents = sandbox.call(_LAYERS, path, kind=FILE, options=recipe)
    layers = [Layer(**document | {"shape": tuple(document["shape"])}) for document in documents]
    described = survey(name, preprocess)
    first = {document["name"] for document in described["layers"]}
    worth_trying = [layer for layer in reversed(layers) if layer.name in first]
    return LayerList(layers, described["layer"], worth_trying)


def survey(name: str, preprocess: str = "") -> dict[str, Any]:
    """Return what a file is and what to try first; see `onnx_import.survey`."""
    path = split(name)[0]
    recipe = recipes.read(preprocess).to_json() if preprocess else ""
    graph, _ = _graph(path)
    options = {"recipe": recipe, "name": path.stem}
    document: dict[str, Any] = sandbox.call(_SURVEY, graph, kind=FILE, options=options)
    kind = conversion.format_of(path)
    return document | {"format": kind.title if kind else "ONNX file"}


def spelt(name: str) -> str:
    """Return a backbone's name, with ``onnx:`` before the path of a network file from elsewhere.

    Files of other formats are converted, or refused with what to do instead.
    """
    path = name.removeprefix("keras:") if conversion.is_keras(Path(name)) else name
    if name.startswith(f"{NAME}:"):
        return name
    whole = f"{NAME}:{path}"
    try:
        file = split(whole)[0]
    except BackboneError:  # no file
        return name
    if path.endswith(".onnx"):
        return name if METADATA in read_metadata(file) else whole
    return whole if conversion.format_of(file) or other_formats.describe(file) else name


def _graph(path: Path) -> tuple[Path, str]:
    """Return the ONNX file of a network, and the hash of the file that it was converted from."""
    kind = conversion.format_of(path)
    if kind:
        return conversion.convert(path, kind)
    other_formats.refuse(path)
    return path, ""


def split(name: str) -> tuple[Path, str]:
    """Return the file and the node of ``onnx:PATH#NODE``; both may contain a ``#``."""
    whole = name.partition(":")[2]
    parts = whole.split("#")
    for count in range(len(parts), 0, -1):
        path = Path("#".join(parts[:count]))
        try:
            if path.is_file() or conversion.format_of(path):
                return conversion.root(path).resolve(), "#".join(parts[count:])
        except (OSError, ValueError):  # no permission, too long a name, a zero byte
            continue
    raise BackboneError(
        f"no ONNX file at {one_line(parts[0]) or 'an empty path'}; give onnx:PATH or onnx:PATH#NODE"
    )
