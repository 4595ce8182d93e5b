"""Make a backbone of an ONNX file from elsewhere, in the process that `core.sandbox` starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headstart.backbones.inference.parity import Embed
from headstart.backbones.layers import choose
from headstart.backbones.onnx_import import cut as cutting
from headstart.backbones.onnx_import import load, metadata, wrap
from headstart.backbones.onnx_import.graph import Graph
from headstart.backbones.onnx_import.original import Original
from headstart.backbones.onnx_import.recipe import PRESETS, Pair, Recipe, read
from headstart.backbones.onnx_import.request import ImportRequest
from headstart.backbones.onnx_import.shapes import shapes_of, tensors_of
from headstart.core.errors import BackboneError, one_line
from headstart.core.onnx_format import ModelProto, any_size
from headstart.core.records import Backbone

_ASSUMED = "imagenet"


@dataclass(frozen=True)
class Imported:
    """A backbone's graph, and the original that it must equal, with its input.

    ``model`` is a ``ModelProto`` from ``(n, h, w, 3) uint8`` to ``(n, d) float32``. ``notes`` say
    what was chosen and assumed, one line each.
    """

    model: Any
    original: Embed
    backbone: Backbone
    notes: tuple[str, ...]
    image_input: wrap.Input


def import_network(path: Path, folder: Path, request: ImportRequest, opset: int) -> Imported:
    """Make a backbone of a file.

    Raises:
        BackboneError: the file is broken, hostile, or no network of images.
    """
    model, sha256 = load.read(path)
    graph = Graph(model)
    wrap.check_inputs(graph)
    shapes = partial(shapes_of, model, graph, request.recipe or Recipe())
    cut = cutting.choose(graph, request.node, shapes, len(metadata.class_names(model)))
    cutting.check_operators(graph.needed(cut.tensor))
    part = wrap.subgraph(model, graph, cut.tensor)
    own = metadata.preparation(model)
    recipe, assumed = _recipe(part, request.recipe, own)
    by_metadata = (
        "" if request.recipe or assumed else f"images are prepared as its metadata say: {own}"
    )
    recipe = _of_size(recipe, request.size)
    image_input = wrap.input_of(part, recipe)
    recipe, by_file = sized(recipe, image_input, *metadata.size(model))
    image_input = wrap.input_of(part, recipe)
    original = Original(part, folder, image_input, recipe)
    layer = original.layer(cut.node)
    _, pool = choose([layer], layer.name, request.pool)
    wrap.any_batch(part, image_input)
    wrapped = wrap.wrap(wrap.to_opset(part, opset), image_input, recipe, layer, pool)
    preprocess = recipe.preprocess(image_input.size)
    if request.whole:
        _check_free(image_input, request.name, preprocess.size)
        preprocess = dataclasses.replace(preprocess, resize=preprocess.size, fit="whole")
        any_size(wrapped)
    kind = wrap.types()[image_input.kind].__name__
    backbone = Backbone(
        name=request.name,
        source=f"{_source(request)}, fed {kind} {image_input.layout}",
        weights_sha256=request.original or sha256,
        licence="unknown",
        layer=cut.node,
        pool=pool,
        precision="fp32",
        dim=layer.dim(pool),
        mean=recipe.red_first(recipe.mean),
        std=recipe.red_first(recipe.std),
        preprocess=preprocess,
        order=recipe.order,
    )
    assumed = ", ".join(filter(None, [assumed, image_input.assumed]))
    assumed = f"assumed, because the file does not say it: {assumed}" if assumed else ""
    licence = metadata.licence(model)
    notes = [
        cut.note,
        by_metadata,
        by_file,
        licence and f"the file names its licence: {licence}",
        assumed,
    ]
    features = partial(original.features, layer, pool)
    return Imported(wrapped, features, backbone, tuple(filter(None, notes)), image_input)


def _source(request: ImportRequest) -> str:
    return "file of the user's, as ONNX" if request.original else "ONNX file of the user's"


def identify(path: Path) -> str:
    """Return the hash of a file with its external data; see `load.read`."""
    return load.read(path)[1]


def list_tensors(path: Path, recipe: dict[str, Any] | str) -> list[dict[str, Any]]:
    """Return the tensors of a file that can serve as features, in the order of computation.

    ``recipe`` is the JSON of a `Recipe`, whose size counts if the file leaves it open, or empty.
    """
    model, _ = load.read(path)
    graph = Graph(model)
    wrap.check_inputs(graph)
    settings = Recipe.from_json(recipe) if isinstance(recipe, dict) else Recipe()
    return [dataclasses.asdict(layer) for layer in tensors_of(model, graph, settings)]


def _of_size(recipe: Recipe, size: Pair | None) -> Recipe:
    if size is None or size == recipe.size:
        return recipe
    if recipe.size or recipe.resize is not None:
        raise BackboneError(
            "--preprocess gives the size already; leave --size out, or say it there"
        )
    return dataclasses.replace(recipe, size=size)


def _check_free(image_input: wrap.Input, name: str, size: Pair) -> None:
    if any(image_input.size):
        raise BackboneError(
            f"{one_line(name)} takes images of {size[0]} × {size[1]} only, so --fit whole cannot "
            "be; use --fit pad or squash"
        )


def sized(
    recipe: Recipe, image_input: wrap.Input, size: Pair | None, why: str
) -> tuple[Recipe, str]:
    """Return a recipe with the size that the file's metadata name, if its input leaves it open."""
    fits = size and all(b in (None, a) for a, b in zip(size, image_input.size, strict=True))
    if not size or not fits or recipe.size or all(image_input.size):
        return recipe, ""
    return dataclasses.replace(recipe, size=size), f"images are {size[0]} × {size[1]}, {why}"


def _recipe(part: ModelProto, recipe: Recipe | None, own: str) -> tuple[Recipe, str]:
    """Return how images are prepared, and what of that was assumed.

    ``own`` is what the file's metadata say, or empty.
    """
    inputs = part.graph.input
    types = [wrap.types().get(value.type.tensor_type.elem_type) for value in inputs]
    takes_bytes = len(types) == 1 and types[0] in wrap.WHOLE
    if recipe is None:
        if takes_bytes:
            return PRESETS["raw"], "RGB"
        if own:
            return read(own), ""
        return PRESETS[_ASSUMED], f"--preprocess {_ASSUMED} (RGB)"
    if takes_bytes and not recipe.is_raw:
        raise BackboneError(
            f"the input {one_line(inputs[0].name)} takes whole numbers, so the network normalises "
            "by itself; use --preprocess raw, raw:SIZE or raw:BGR"
        )
    return recipe, ""
