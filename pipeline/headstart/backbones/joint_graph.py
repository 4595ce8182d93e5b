"""The graph of several networks side by side: windows of one picture, networks, features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.core.errors import BackboneError, one_line
from headstart.core.onnx_format import EXACT, OPSET, ModelProto, NodeProto
from headstart.datasets.images import fixed_point

SMALLEST = 1e-12  # norm that features are divided by, at least, as in torch
_Constants = dict[str, NDArray[Any]]
_Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes


class Window(NamedTuple):
    """One network's part of the picture, in the picture's pixels, and the ``size`` of its input.

    ``box`` has the left, top, right and bottom side.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]

    @property
    def is_plain(self) -> bool:
        """Whether the network reads pixels of the picture as they are."""
        left, top, right, bottom = self.box
        height, width = self.size
        whole = left % 1 == 0 and top % 1 == 0
        return whole and bottom - top == height and right - left == width


class Part(NamedTuple):
    """One network: its exported file, what it sees, and how that is resized."""

    file: Path
    window: Window
    interpolation: str


def build(parts: Sequence[Part], size: tuple[int, int], dim: int) -> ModelProto:
    """Return a graph from pictures of ``size`` (height, width) to ``(n, dim)`` features.

    Raises:
        BackboneError: the files' graphs do not fit together.
    """
    import onnx
    from onnx import compose

    model = _windows(parts, size)
    features = []
    for number, part in enumerate(parts):
        network = onnx.load(part.file)
        output = network.graph.output[0].name
        del network.metadata_props[:], network.graph.value_info[:]
        network = compose.add_prefix(network, f"{number}.")
        network.ir_version = model.ir_version
        features.append(f"{number}.{output}")
        try:
            model = compose.merge_models(
                model,
                network,
                io_map=[(_crop(number), f"{number}.{INPUT}")],
                outputs=[*features, *map(_crop, range(number + 1, len(parts)))],
            )
        except ValueError as error:
            raise BackboneError(
                f"{one_line(part.file)} cannot stand beside the others: {one_line(error)[:200]}; "
                "export it again"
            ) from error
    _finish(model, features, dim)
    versions = {entry.domain: entry.version for entry in model.opset_import}  # once, for quantising
    del model.opset_import[:]
    model.opset_import.extend(map(onnx.helper.make_opsetid, versions.keys(), versions.values()))
    onnx.checker.check_model(model)
    return model


def _windows(parts: Sequence[Part], size: tuple[int, int]) -> ModelProto:
    """Return a graph from the picture to the crop of each network."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[NodeProto] = []
    constants: _Constants = {}
    outputs = []
    for number, part in enumerate(parts):
        if part.window.is_plain:
            nodes.append(_slice(_crop(number), part.window, constants))
        else:
            nodes += _resize(_crop(number), part, size, constants)
        shape: list[str | int | None] = ["n", *part.window.size, 3]
        outputs.append(helper.make_tensor_value_info(_crop(number), TensorProto.UINT8, shape))
    picture = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", *size, 3])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "headstart", [picture], outputs, tensors)
    opset = helper.make_opsetid("", OPSET)
    version = helper.find_min_ir_version_for([opset])
    return helper.make_model(graph, opset_imports=[opset], ir_version=version)


def _crop(number: int) -> str:
    return f"crop_{number}"


def _slice(name: str, window: Window, constants: _Constants) -> NodeProto:
    from onnx import helper

    left, top, right, bottom = map(int, window.box)
    corners = {"from": [top, left], "to": [bottom, right], "axes": [1, 2]}
    for key, value in corners.items():
        constants[f"{name}.{key}"] = np.array(value, np.int64)
    return helper.make_node("Slice", [INPUT, *(f"{name}.{key}" for key in corners)], [name])


def _resize(name: str, part: Part, size: tuple[int, int], constants: _Constants) -> list[NodeProto]:
    """Return nodes that resize as `fixed_point.resize` does: columns first, each axis rounded.

    Sums of whole numbers in float32 are exact up to reductions of about a half, so the pixels have
    the same bits as there.
    """
    from onnx import TensorProto, helper

    left, top, right, bottom = part.window.box
    height, width = part.window.size
    for axis, (whole, low, high, side) in {
        "w": (size[1], left, right, width),
        "h": (size[0], top, bottom, height),
    }.items():
        weights = fixed_point.axis_weights(whole, low, high - low, side, part.interpolation)
        constants[f"{name}.{axis}"] = weights.astype(np.float32)
    for key, value in {"half": 0.5, "black": 0, "white": 255}.items():
        constants[f"{name}.{key}"] = np.array(value, np.float32)

    def rounded(source: str, target: str) -> list[_Step]:
        return [
            ("Add", [source, "half"], f"{source}.added", {}),
            ("Floor", [f"{source}.added"], f"{source}.whole", {}),
            ("Clip", [f"{source}.whole", "black", "white"], target, {}),
        ]

    # The constant comes first in a product, and one image's product is not merged with others'.
    steps: list[_Step] = [
        ("Transpose", [""], "turned", {"perm": [0, 3, 2, 1]}),  # (n, 3, w, h)
        ("Cast", ["turned"], "float", {"to": TensorProto.FLOAT}),
        ("MatMul", ["w", "float"], "wide", {}),
        *rounded("wide", "narrow"),
        ("Transpose", ["narrow"], "upright", {"perm": [0, 1, 3, 2]}),  # (n, 3, h, w)
        ("MatMul", ["h", "upright"], "high", {}),
        *rounded("high", "low"),
        ("Cast", ["low"], "bytes", {"to": TensorProto.UINT8}),
    ]
    nodes = [
        helper.make_node(
            kind,
            [f"{name}.{each}" if each else INPUT for each in inputs],
            [f"{name}.{output}"],
            f"{EXACT}{name}.{output}",
            **attributes,
        )
        for kind, inputs, output, attributes in steps
    ]
    last = helper.make_node("Transpose", [f"{name}.bytes"], [name], perm=[0, 2, 3, 1])
    return [*nodes, last]


def _finish(model: ModelProto, parts: Sequence[str], dim: int) -> None:
    """Scale the features of each network to norm 1, and put them side by side."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {"joint.axis": np.array([1], np.int64), "joint.least": np.float32(SMALLEST)}
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    units = []
    for part in parts:
        norm, least, unit = f"{part}.norm", f"{part}.least", f"{part}.unit"
        for kind, inputs, output in (
            ("ReduceL2", [part, "joint.axis"], norm),
            ("Clip", [norm, "joint.least"], least),
            ("Div", [part, least], unit),
        ):
            graph.node.append(helper.make_node(kind, inputs, [output], f"{EXACT}{output}"))
        units.append(unit)
    graph.node.append(helper.make_node("Concat", units, [OUTPUT], f"{EXACT}{OUTPUT}", axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", dim]))
