"""The shapes of a foreign graph's tensors for one image, which tell what can be features."""

from __future__ import annotations

from typing import NamedTuple

from headstart.backbones.layers import Layer
from headstart.backbones.onnx_import import wrap
from headstart.backbones.onnx_import.graph import Graph
from headstart.backbones.onnx_import.recipe import Recipe
from headstart.core.onnx_format import ModelProto


class Shapes(NamedTuple):
    """The tensors that depend on the image alone.

    ``layers`` are those that could serve as features, with their shapes for one image, and
    ``sequences`` the names of those whose first side is not the batch, as recurrent layers have it.
    """

    layers: list[Layer]
    sequences: set[str]

    @classmethod
    def unknown(cls) -> Shapes:
        """Return the shapes of no tensor."""
        return cls([], set())


def tensors_of(model: ModelProto, graph: Graph, recipe: Recipe) -> list[Layer]:
    """Return every tensor that could serve as features, with its shape for one image."""
    return shapes_of(model, graph, recipe).layers


def shapes_of(model: ModelProto, graph: Graph, recipe: Recipe) -> Shapes:
    """Infer the shapes of tensors without computing anything; unknown ones are left out."""
    import onnx

    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    layout, size, demanded = "NCHW", (1, 1), None
    images = {value.name for value in graph.images}
    for value in typed.graph.input:
        sides = value.type.tensor_type.shape.dim
        if value.name not in images or len(sides) != 4:
            continue
        part = onnx.ModelProto()
        part.graph.node.extend(model.graph.node)
        part.graph.input.append(value)
        image_input = wrap.input_of(part, recipe)
        layout, size = image_input.layout, recipe.preprocess(image_input.size).size
        demanded = image_input.batch
        own = image_input.channels
        shape = (1, own, *size) if layout == "NCHW" else (1, *size, own)
        for side, number in zip(sides, shape, strict=True):
            side.dim_value = number
    for value in typed.graph.output:
        value.type.tensor_type.ClearField("shape")
    del typed.graph.value_info[:]
    graph_typed = wrap.inferred(typed, data_prop=True).graph
    values = {value.name: value for value in [*graph_typed.value_info, *graph_typed.output]}
    shapes = Shapes.unknown()
    for name in graph.maker:
        if name not in graph.moving or name in graph.mixed:
            continue
        tensor = values[name].type.tensor_type if name in values else None
        if tensor is None or tensor.elem_type not in (*wrap.types(), onnx.TensorProto.BFLOAT16):
            continue
        batch, *sides = [side.dim_value for side in tensor.shape.dim] or [0]
        if batch > 1 and batch != demanded:
            shapes.sequences.add(name)
        elif 1 <= len(sides) <= 3 and all(side > 0 for side in sides):
            shapes.layers.append(wrap.layer_of(name, tuple(sides), size, layout))
    return shapes
