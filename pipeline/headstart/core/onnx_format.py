"""The operator sets of written ONNX files, and names for the messages of the package ``onnx``."""

from typing import Any, TypeAlias

OPSET = 18
ML_OPSET = 3  # of ai.onnx.ml, which skl2onnx uses
EXACT = "headstart_exact_"  # begins the names of nodes that int8 leaves in float

# The package is loaded late, and its generated classes have no attributes to check.
ModelProto: TypeAlias = Any
NodeProto: TypeAlias = Any


def exact_nodes(model: ModelProto) -> list[str]:
    """Return the names of the nodes that int8 leaves in float."""
    return [node.name for node in model.graph.node if node.name.startswith(EXACT)]


def any_size(model: ModelProto) -> None:
    """Let a graph of ``(n, h, w, 3)`` images take any height and width, untested."""
    sides = model.graph.input[0].type.tensor_type.shape.dim
    sides[1].dim_param, sides[2].dim_param = "h", "w"
    del model.graph.value_info[:]
