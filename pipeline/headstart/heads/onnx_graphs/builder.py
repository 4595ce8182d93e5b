"""A builder of small ONNX graphs, and the two parts that all heads share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.onnx_format import OPSET

_TINY = np.array([1e-30])  # avoids division by a zero norm or sum


class Nodes:
    """A graph under construction; call it with an operator and inputs to add a node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node with one output and return its name."""
        from onnx import helper

        out = out or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def several(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:  # noqa: ANN401
        """Add a node with several outputs and return their names."""
        from onnx import helper

        outputs = [f"{kind}_{len(self.nodes)}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, as float32 unless it holds integers, and return its name."""
        from onnx import numpy_helper

        value = value if value.dtype.kind == "i" else value.astype(np.float32, copy=False)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(self, dim: int, k: int) -> Any:  # noqa: ANN401 - ModelProto
        """Return the graph from ``X``, ``(n, dim) float32``, to ``scores``, ``(n, k) float32``."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self.nodes,
            "head",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", dim])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", k])],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def unit_rows(graph: Nodes) -> str:
    """Scale the rows of ``X`` to norm 1 as scikit-learn's ``Normalizer`` does; zeros stay zeros."""
    axis = graph.constant("axis", np.array([1]))
    norm = graph("Sqrt", graph("ReduceSumSquare", "X", axis, keepdims=1))
    return graph("Div", "X", graph("Max", norm, graph.constant("tiny", _TINY)))


def calibrate(graph: Nodes, pair: Any, values: str) -> None:  # noqa: ANN401
    """Add the sigmoids of ``CalibratedClassifierCV``, from values to ``scores``, after `unit_rows`.

    ``pair`` is one of ``calibrated_classifiers_``. The values are ``(n, k)``; for two classes ``(n,
    1)``, those of the second.
    """
    slopes = graph.constant("slopes", np.array([[sigmoid.a_ for sigmoid in pair.calibrators]]))
    offsets = graph.constant("offsets", np.array([[sigmoid.b_ for sigmoid in pair.calibrators]]))
    unit = graph.constant("one", np.ones((1, 1)))
    # Not Sigmoid: onnxruntime's is off by 3e-8, which matters where all probabilities are small.
    exponent = graph("Add", graph("Mul", values, slopes), offsets)
    shares = graph("Reciprocal", graph("Add", graph("Exp", exponent), unit))
    if len(pair.classes) == 2:
        other = graph("Sub", unit, shares)
        graph("Concat", other, shares, out="scores", axis=1)
    else:
        shares = graph("Add", shares, "tiny")
        graph("Div", shares, graph("ReduceSum", shares, "axis", keepdims=1), out="scores")


def has_sigmoids(calibrated: Any) -> bool:  # noqa: ANN401
    """Return whether this is a single classifier calibrated by sigmoids."""
    pairs = calibrated.calibrated_classifiers_
    return len(pairs) == 1 and all(
        type(sigmoid).__name__ == "_SigmoidCalibration" for sigmoid in pairs[0].calibrators
    )
