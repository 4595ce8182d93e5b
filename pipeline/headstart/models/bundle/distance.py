"""The distance to the training images as a second output of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import DISTANCE, OUTPUT
from headstart.core.onnx_format import ModelProto
from headstart.models.novelty import Reference

_NAME = "novelty_"  # prefix of its names in the joined graph


def add_distance(model: ModelProto, reference: Reference) -> None:
    """Add ``distance``, ``(n,) float32``, computed from features as `Reference.distances` does.

    The reference is stored in float16, which halves its size; the runtime casts it once.
    """
    from onnx import TensorProto, helper, numpy_helper

    def name(part: str) -> str:
        return _NAME + part

    constants: dict[str, NDArray[Any]] = {
        "reference": np.ascontiguousarray(reference.rows.T),
        "neighbours": np.array([reference.neighbours], np.int64),
        "last": np.array([reference.neighbours - 1], np.int64),
        "one": np.array(1, np.float32),
        "axis": np.array([1], np.int64),
    }
    graph = model.graph
    graph.initializer.extend(
        numpy_helper.from_array(value, name(part)) for part, value in constants.items()
    )
    steps: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("LpNormalization", [OUTPUT], ["unit"], {"axis": 1, "p": 2}),
        ("Cast", [name("reference")], ["columns"], {"to": TensorProto.FLOAT}),
        ("MatMul", [name("unit"), name("columns")], ["cosine"], {}),
        ("TopK", [name("cosine"), name("neighbours")], ["nearest", "which"], {"axis": 1}),
        ("Gather", [name("nearest"), name("last")], ["kth"], {"axis": 1}),
        ("Squeeze", [name("kth"), name("axis")], ["flat"], {}),
    ]
    for kind, inputs, outputs, attributes in steps:
        graph.node.append(helper.make_node(kind, inputs, list(map(name, outputs)), **attributes))
    graph.node.append(helper.make_node("Sub", [name("one"), name("flat")], [DISTANCE]))
    graph.output.append(helper.make_tensor_value_info(DISTANCE, TensorProto.FLOAT, ["n"]))
