"""The mean of several heads' probabilities as one ONNX graph, with their common constants once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstart.core.onnx_format import OPSET


def joined(graphs: Sequence[Any], dim: int, k: int) -> Any:  # noqa: ANN401 - ModelProtos
    """Join graphs from ``X``, ``(n, dim)``, whose last output is ``(n, k)`` probabilities."""
    from onnx import TensorProto, compose, helper

    nodes: list[Any] = []
    constants: dict[tuple[Any, ...], Any] = {}
    outputs, domains = [], {"": OPSET}
    for number, graph in enumerate(graphs):
        part = compose.add_prefix(graph, f"part_{number}_")
        names = {part.graph.input[0].name: "X"}
        for constant in part.graph.initializer:
            key = (constant.data_type, *constant.dims, constant.raw_data or constant.name)
            names[constant.name] = constants.setdefault(key, constant).name
        for node in part.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            nodes.append(node)
        outputs.append(part.graph.output[-1].name)
        domains |= {entry.domain: entry.version for entry in part.opset_import if entry.domain}
    nodes.append(helper.make_node("Mean", outputs, ["scores"]))
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", dim])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", k])],
        list(constants.values()),
    )
    imports = [helper.make_opsetid(*entry) for entry in domains.items()]
    return helper.make_model(graph, opset_imports=imports)
