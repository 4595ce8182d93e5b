"""ONNX files by others: ``onnx:PATH[#NODE]``.

What such a file is gets found out by a process of its own, see `headstart.backbones.onnx_import`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.backbones.layers import Layer
from headstart.backbones.onnx_import import recipe as recipes
from headstart.backbones.onnx_import.request import FILE, Order
from headstart.core import sandbox
from headstart.core.errors import BackboneError, one_line
from headstart.core.records import Choice

NAME = "onnx"
_LAYERS = "headstart.backbones.onnx_import.steps:listed"
_IDENTITY = "headstart.backbones.onnx_import.steps:identify"


@dataclass(frozen=True)
class Foreign:
    """A network that is an ONNX graph already, as the user chose it.

    Attributes:
        path: the file.
        order: what is to be made of it.
        sha256: the hash of the file with its external data.
    """

    path: Path
    order: Order
    sha256: str

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.order.name

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what an export would give."""
        return self.order.to_json() | {"weights": self.sha256}


def find(choice: Choice) -> Foreign:
    """Return the file that a user means, looked at but not loaded here.

    Raises:
        BackboneError: there is no such file, it is broken, or ``--preprocess`` makes no sense.
    """
    path, node = split(choice.name)
    if choice.weights:
        raise BackboneError("an ONNX file has its weights inside; leave --weights out")
    if node and choice.layer and node != choice.layer:
        raise BackboneError(
            f"#{one_line(node)} and --layer {one_line(choice.layer)} name two places; give one"
        )
    if choice.layers:
        raise BackboneError("an ONNX file by others is cut at one place; give one --layer")
    recipe = recipes.read(choice.preprocess) if choice.preprocess else None
    sha256 = str(sandbox.call(_IDENTITY, path, kind=FILE))
    name = f"{NAME}:{one_line(path.name)}"
    return Foreign(path, Order(name, node or choice.layer, choice.pool, recipe), sha256)


def list_layers(name: str, preprocess: str = "") -> list[Layer]:
    """Return the tensors of a file that can be taken.

    Raises:
        BackboneError: there is no such file, or it is broken.
    """
    path, _ = split(name)
    recipe = recipes.read(preprocess).to_json() if preprocess else ""
    found = sandbox.call(_LAYERS, path, kind=FILE, options=recipe)
    return [Layer(**one | {"shape": tuple(one["shape"])}) for one in found]


def split(name: str) -> tuple[Path, str]:
    """Return the file and the node of ``onnx:PATH#NODE``; both may hold a ``#``.

    Raises:
        BackboneError: there is no such file.
    """
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
