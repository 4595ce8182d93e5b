"""Cut a foreign graph, and add what a backbone needs: ``uint8`` images in, features out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.backbones.layers import GEM_POWER, Layer, map_layout
from headstart.backbones.onnx_import.graph import Graph, may_be_images, names_read_by
from headstart.backbones.onnx_import.load import opset_of
from headstart.backbones.onnx_import.recipe import LINE, Open, Recipe
from headstart.core.errors import BackboneError, one_line
from headstart.core.onnx_format import ModelProto

PLACES = {"chw": (2, 3), "hwc": (1, 2), "tokens": (1,)}  # the axes to pool over, by layout
_OWN = "headstart/"
_FOREIGN = "net/"
_IR = 10
WHOLE = (np.uint8, np.int32, np.int64)  # types of images that a network takes as they are


@dataclass(frozen=True)
class Input:
    """The image input of a foreign graph.

    Attributes:
        kind: its type, a number of ONNX's ``TensorProto``.
        layout: ``NCHW`` or ``NHWC``.
        assumed: what the file does not say; empty if it says all.
        batch: the number of images that it demands; None if it takes any.
        size: the height and width that it demands; None for a side that is free.
        channels: 3, or 1 for grey images.
    """

    name: str
    kind: int
    layout: str
    assumed: str
    batch: int | None
    size: Open
    channels: int = 3


def types() -> dict[int, Any]:
    """Return the ONNX types that an image input may have, with numpy's types."""
    from onnx import TensorProto

    return {
        TensorProto.FLOAT: np.float32,
        TensorProto.FLOAT16: np.float16,
        TensorProto.DOUBLE: np.float64,
        TensorProto.UINT8: np.uint8,
        TensorProto.INT32: np.int32,
        TensorProto.INT64: np.int64,
    }


def subgraph(model: ModelProto, graph: Graph, tensor: str) -> ModelProto:
    """Return the part of a model that computes one tensor, otherwise unchanged."""
    import onnx

    nodes = graph.needed(tensor)
    needed = {name for node in nodes for name in names_read_by(node)} | {tensor}
    part = onnx.ModelProto()
    part.ir_version = max(model.ir_version, 4)  # since 4, constants need not be inputs
    domains = {"", *(node.domain for node in nodes)} | {"ai.onnx"}
    part.opset_import.extend(entry for entry in model.opset_import if entry.domain in domains)
    part.graph.name = "foreign"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(c for name, c in graph.constants.items() if name in needed)
    part.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    part.graph.input.extend(value for value in graph.inputs if value.name in needed)
    kind = _type_of(part, tensor)
    part.graph.output.append(onnx.helper.make_tensor_value_info(tensor, kind, None))
    return part


def check_inputs(graph: Graph) -> None:
    """Refuse a network none of whose inputs can be images; `input_of` says more of a single one."""
    sides = [len(value.type.tensor_type.shape.dim) for value in graph.inputs]
    if sides == [4] or any(map(may_be_images, graph.inputs)):
        return
    shown = ", ".join(map(described, graph.inputs)) or "no input"
    raise BackboneError(
        f"the network takes {shown}, and a batch of images has four dimensions, one of them three "
        "channels or one, so it is no network of images"
    )


def input_of(part: ModelProto, recipe: Recipe) -> Input:
    """Return the one image input of a part.

    Raises:
        BackboneError: there is not exactly one input, or it is not an image in colour or in grey.
    """
    inputs = list(part.graph.input)
    shown = ", ".join(map(described, inputs))
    if len(inputs) != 1:
        raise BackboneError(
            f"the network takes {len(inputs)} inputs ({shown or 'none'}) where one image is "
            "needed; choose a #NODE that needs the image alone, as listed by: headstart backbones "
            "onnx:PATH --layers; or export it with the others fixed"
        )
    tensor = inputs[0].type.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else 0 for side in tensor.shape.dim]
    if tensor.elem_type not in types():
        raise BackboneError(
            f"the input {shown} is neither float nor uint8, int32 or int64, so it is not an image"
        )
    if len(sides) != 4 and tensor.HasField("shape"):
        raise BackboneError(
            f"the input {shown} is not a batch of images, which has four dimensions"
        )
    sides = [max(side, 0) for side in sides] or [0] * 4
    layout, assumed = _layout(part, sides, recipe, shown)
    height, width = (sides[2], sides[3]) if layout == "NCHW" else (sides[1], sides[2])
    if height and not width and not recipe.size:
        line = height <= LINE[0]
        wide = LINE[1] if line else height
        guess = f"{'lines of text' if line else 'images'} of {height} × {wide} (another width with "
        assumed = ", ".join(filter(None, [assumed, f"{guess}--preprocess PRESET:{height}xWIDTH)"]))
    if max(height, width) > 4096:
        raise BackboneError(f"the input {shown} is larger than 4096 pixels a side")
    size = (height or None, width or None)
    channels = 1 if (sides[1] if layout == "NCHW" else sides[3]) == 1 else 3
    kind = tensor.elem_type
    return Input(inputs[0].name, kind, layout, assumed, sides[0] or None, size, channels)


def described(value: Any) -> str:  # noqa: ANN401 - ValueInfoProto
    """Return an input's name and shape for messages."""
    sides = (side.dim_value or side.dim_param or "?" for side in value.type.tensor_type.shape.dim)
    return f"{one_line(value.name)} ({', '.join(one_line(side) for side in sides)})"


def _layout(part: ModelProto, sides: list[int], recipe: Recipe, shown: str) -> tuple[str, str]:
    first, last = (sides[1] == 3, sides[3] == 3)
    if not first and not last:  # grey images
        first, last = sides[1] == 1, sides[3] == 1
    if recipe.layout and (first or not sides[1]) | (last or not sides[3]):
        channels = sides[1] if recipe.layout == "NCHW" else sides[3]
        if channels in (0, 1, 3):
            return recipe.layout, ""
    if first != last and not recipe.layout:
        return ("NCHW" if first else "NHWC"), ""
    if recipe.layout or (sides[1] and sides[3] and not first):
        raise BackboneError(
            f"the input {shown} has neither three channels nor one "
            f"{recipe.layout or 'anywhere'}; only networks of colour or grey images can be taken"
        )
    layout = "NHWC" if _turned(part) else "NCHW"
    return layout, f"the layout {layout}"


def _turned(part: ModelProto) -> bool:
    """Whether a transposition puts the channels first, as in TensorFlow's graphs."""
    for node in part.graph.node:
        if node.op_type == "Transpose":
            return any(list(attribute.ints) == [0, 3, 1, 2] for attribute in node.attribute)
        if node.op_type == "Conv":
            return False
    return False


def layer_of(name: str, shape: tuple[int, ...], size: tuple[int, int], layout: str) -> Layer:
    """Describe a tensor by its shape without the batch, which has one to three sides.

    ``size`` is the image's height and width. The input's ``layout`` decides if the shape does not.
    """
    if len(shape) == 1:
        return Layer(name, shape, "vector")
    if len(shape) == 2:
        tokens = shape[0]
        classed = math.isqrt(tokens - 1) ** 2 == tokens - 1 and tokens > 2
        return Layer(name, shape, "tokens", int(classed), classed)
    return Layer(name, shape, map_layout(shape, size, "chw" if layout == "NCHW" else "hwc"))


def any_batch(part: ModelProto, image_input: Input) -> None:
    """Let a part with a fixed batch take any number of images; the parity check tests it later.

    Constant shapes that begin with the batch begin with 0 then, which keeps the input's size, and
    slices that take the whole batch have no end.
    """
    from onnx import numpy_helper

    part.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    if image_input.batch is None:
        return
    graph = Graph(part)
    moving = {image_input.name}
    for node in part.graph.node:
        if moving.isdisjoint(names_read_by(node)):
            continue
        moving.update(node.output)
        place = {"Reshape": 1, "Slice": 2}.get(node.op_type, len(node.input))
        constants = [graph.constant(name) for name in node.input[1:]]
        if place >= len(node.input) or constants[place - 1] is None:
            continue
        values: list[Any] = [each and numpy_helper.to_array(each) for each in constants]
        sides = values[place - 1].copy()
        if node.op_type == "Slice":
            where = _whole_batch(values, image_input.batch)
        else:
            fixed = sides.ndim == 1 and len(sides) > 1 and sides.all()
            where = [0] if fixed and sides[0] == image_input.batch else []
            if where:
                del node.attribute[:]  # ``allowzero``, under which 0 would mean empty
        if where:
            sides[where] = 0 if node.op_type == "Reshape" else np.iinfo(sides.dtype).max
            name = f"{node.output[0]}/sides"
            part.graph.initializer.append(numpy_helper.from_array(sides, name))
            node.input[place] = name


def _whole_batch(values: list[Any], batch: int) -> list[int]:
    """Return where a slice of starts, ends and axes ends with the batch, which it takes whole."""
    starts, ends, *axes = values
    if starts is None or (axes and axes[0] is None):
        return []
    named = axes[0] if axes else np.arange(len(ends))
    whole = (named == 0) & (starts == 0) & (ends == batch)
    return [int(number) for number in np.flatnonzero(whole)]


def to_opset(part: ModelProto, opset: int) -> ModelProto:
    """Convert a part to the version of ONNX's operators that all of Headstart uses.

    Operators whose newer versions only admit more types are left as they are; the parity check
    tests that.

    Raises:
        BackboneError: it cannot be converted.
    """
    import onnx

    version = opset_of(part)
    if version < opset and not _same(part, version, opset):
        try:
            part = onnx.version_converter.convert_version(part, opset)
        except Exception as error:  # the converter raises nearly anything
            raise BackboneError(
                f"the file is of opset {version} and cannot be converted to {opset}: "
                f"{one_line(error)[:160]}; cut it earlier with #NODE, or export it again"
            ) from error
    for entry in part.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.domain, entry.version = "", opset
    part.ir_version = _IR
    return part


def _same(part: ModelProto, first: int, second: int) -> bool:
    """Whether every operator is the same in two opsets."""
    import onnx

    def since(kind: str, version: int) -> int:
        try:
            return int(onnx.defs.get_schema(kind, version).since_version)
        except onnx.defs.SchemaError:
            return -1

    kinds = {node.op_type for node in part.graph.node if node.domain in ("", "ai.onnx")}
    return all(since(kind, first) == since(kind, second) != -1 for kind in kinds)


def wrap(
    part: ModelProto, image_input: Input, recipe: Recipe, layer: Layer, pool: str
) -> ModelProto:
    """Put the normalisation before a part and the pooling behind it.

    The result is a ``ModelProto`` from ``(n, h, w, 3) uint8`` to ``(n, d) float32``.
    """
    import onnx
    from onnx import TensorProto, helper

    size = recipe.preprocess(image_input.size).size
    kind = part.graph.output[0].type.tensor_type.elem_type
    part = onnx.compose.add_prefix(part, _FOREIGN)
    part.ir_version = _IR
    steps = _Steps()
    pixels = steps.front(image_input, recipe)
    steps.add("Identity", [pixels], part.graph.input[0].name)
    tail = _Steps()
    features = tail.back(part.graph.output[0].name, kind, layer, pool)
    tail.add("Identity", [features], OUTPUT)
    nodes = [*steps.nodes, *part.graph.node, *tail.nodes]
    constants = [*part.graph.initializer, *steps.constants, *tail.constants]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", *size, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", layer.dim(pool)])],
        constants,
        sparse_initializer=list(part.graph.sparse_initializer),
    )
    model = helper.make_model(graph, opset_imports=part.opset_import, ir_version=_IR)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker has its own error types
        raise BackboneError(
            f"the network breaks ONNX's rules, or cannot be read as opset {opset_of(model)}: "
            f"{one_line(error)[:160]}; export it again"
        ) from error
    return model


class _Steps:
    """Nodes and constants with names that no foreign graph has."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        from onnx import helper

        output = output or f"{_OWN}{kind}_{len(self.nodes)}_{'_'.join(inputs)[-40:]}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:  # noqa: ANN401 - an array
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, _OWN + name))
        return _OWN + name

    def front(self, image_input: Input, recipe: Recipe) -> str:
        """Add the steps from ``uint8`` images to what the network takes."""
        from onnx import TensorProto

        pixels = INPUT
        if recipe.order == "BGR":
            turned = self.constant("bgr", np.array([2, 1, 0], np.int64))
            pixels = self.add("Gather", [pixels, turned], axis=3)
        if not recipe.is_raw:
            pixels = self.add("Cast", [pixels], to=TensorProto.FLOAT)
            for kind in ("Sub", "Div"):
                pixels = self.add(kind, [pixels, self.constant(kind, recipe.constants[kind])])
        whole = recipe.is_raw
        if image_input.channels == 1:
            pixels, whole = self.grey(pixels, image_input.kind, recipe), False
        if image_input.layout == "NCHW":
            pixels = self.add("Transpose", [pixels], perm=[0, 3, 1, 2])
        if image_input.kind != (TensorProto.UINT8 if whole else TensorProto.FLOAT):
            pixels = self.add("Cast", [pixels], to=image_input.kind)
        return pixels

    def grey(self, pixels: str, kind: int, recipe: Recipe) -> str:
        """Add the steps from three channels to one."""
        from onnx import TensorProto

        if recipe.is_raw:
            pixels = self.add("Cast", [pixels], to=TensorProto.FLOAT)
        luma = self.constant("luma", recipe.constants["luma"])
        weighted = self.add("Mul", [pixels, luma])
        grey = self.add(
            "ReduceSum", [weighted, self.constant("colours", np.array([3]))], keepdims=1
        )
        return self.add("Round", [grey]) if types()[kind] in WHOLE else grey

    def back(self, out: str, kind: int, layer: Layer, pool: str) -> str:
        """Add the steps from the network's output to ``(n, d) float32``; see `layers.pooled`."""
        from onnx import TensorProto

        if kind != TensorProto.FLOAT:
            out = self.add("Cast", [out], to=TensorProto.FLOAT)
        if pool == "flatten":
            return self.add("Flatten", [out], axis=1)
        if pool == "cls":
            return self.add("Gather", [out, self.constant("first", np.array(0, np.int64))], axis=1)
        if pool == "cls+avg":
            parts = [self.back(out, TensorProto.FLOAT, layer, part) for part in ("cls", "avg")]
            return self.add("Concat", parts, axis=1)
        if layer.prefix:
            bounds = {"from": layer.prefix, "to": layer.shape[0], "axis": 1}
            ends = [
                self.constant(name, np.array([value], np.int64)) for name, value in bounds.items()
            ]
            out = self.add("Slice", [out, *ends])
        axes = self.constant("places", np.array(PLACES[layer.layout], np.int64))
        if pool == "max":
            return self.add("ReduceMax", [out, axes], keepdims=0)
        if pool == "avg":
            return self.add("ReduceMean", [out, axes], keepdims=0)
        out = self.add("Max", [out, self.constant("least", np.array(1e-6, np.float32))])
        out = self.add("Pow", [out, self.constant("power", np.array(GEM_POWER, np.float32))])
        out = self.add("ReduceMean", [out, axes], keepdims=0)
        return self.add("Pow", [out, self.constant("root", np.array(1 / GEM_POWER, np.float32))])


def inferred(model: ModelProto, *, data_prop: bool = False) -> ModelProto:
    """Return a model with the shapes and types that inference finds, without computing anything."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=data_prop)
    except Exception as error:  # inference has its own error types
        raise BackboneError(f"the file contradicts itself: {one_line(error)[:160]}") from error


def _type_of(part: ModelProto, tensor: str) -> int:
    """Return a tensor's inferred type, or float if inference finds none."""
    import onnx

    for value in inferred(part).graph.value_info:
        if value.name == tensor and value.type.tensor_type.elem_type:
            return int(value.type.tensor_type.elem_type)
    return int(onnx.TensorProto.FLOAT)
