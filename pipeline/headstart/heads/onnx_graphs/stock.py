"""Conversion with skl2onnx."""

from __future__ import annotations

import warnings
from typing import Any

from headstart.core.errors import HeadstartError
from headstart.core.onnx_format import ML_OPSET, OPSET
from headstart.heads.onnx_graphs.builder import Nodes, has_root, root


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert with skl2onnx, after `root` if it comes first; scores are the graph's last output.

    Raises:
        HeadstartError: skl2onnx cannot convert the estimator.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    rooted = has_root(estimator)
    estimator = estimator[1:] if rooted else estimator
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # skl2onnx reads attributes that scikit-learn deprecates
            graph = to_onnx(
                estimator,
                initial_types=[("X", FloatTensorType([None, dim]))],
                options={"zipmap": False},
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            )
    except Exception as error:  # skl2onnx raises many kinds of errors
        raise HeadstartError(f"the head cannot be converted to ONNX: {error}") from error
    return _after_root(graph) if rooted else graph


def _after_root(model: Any) -> Any:  # noqa: ANN401 - ModelProto
    from onnx import compose

    nodes, name = Nodes(), model.graph.input[0].name
    model = compose.add_prefix(model, "rest_", rename_inputs=False)
    for node in model.graph.node:
        node.input[:] = ["roots" if each == name else each for each in node.input]
    root(nodes, name, out="roots")
    for place, node in enumerate(nodes.nodes):
        model.graph.node.insert(place, node)
    return model
