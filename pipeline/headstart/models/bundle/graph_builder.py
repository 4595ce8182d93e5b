"""What graphs of heads are put together from: a builder, the normaliser and the calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.export import OPSET

_TINY = np.array([1e-30])  # no norm and no sum of probabilities is 0


class Nodes:
    """A graph that grows: call it with an operator and its inputs to get the output's name."""

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
        """Add a constant, in float32 if it is no integer, and return its name."""
        from onnx import numpy_helper

        value = value if value.dtype.kind == "i" else value.astype(np.float32, copy=False)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(self, dim: int, k: int) -> Any:  # noqa: ANN401 - ModelProto
        """Return all of it, ``X``, ``(n, dim) float32``, to ``scores``, ``(n, k) float32``."""
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
    """Scale the rows of ``X`` to norm 1, as scikit-learn's ``Normalizer``; zeros stay zeros."""
    axis = graph.constant("axis", np.array([1]))
    norm = graph("Sqrt", graph("ReduceSumSquare", "X", axis, keepdims=1))
    return graph("Div", "X", graph("Max", norm, graph.constant("tiny", _TINY)))


def calibrate(graph: Nodes, pair: Any, values: str) -> None:  # noqa: ANN401
    """Make ``scores`` of a classifier's values, as ``CalibratedClassifierCV`` does.

    Args:
        graph: in which `unit_rows` has been.
        pair: of ``calibrated_classifiers_``, with sigmoids.
        values: ``(n, k)``; of two classes, ``(n, 1)``, the second's.
    """
    slopes = graph.constant("slopes", np.array([[one.a_ for one in pair.calibrators]]))
    offsets = graph.constant("offsets", np.array([[one.b_ for one in pair.calibrators]]))
    one = graph.constant("one", np.ones((1, 1)))
    # Not Sigmoid: onnxruntime's is off by 3e-8, which is much where all probabilities are small.
    exponent = graph("Add", graph("Mul", values, slopes), offsets)
    shares = graph("Reciprocal", graph("Add", graph("Exp", exponent), one))
    if len(pair.classes) == 2:
        other = graph("Sub", one, shares)
        graph("Concat", other, shares, out="scores", axis=1)
    else:
        shares = graph("Add", shares, "tiny")
        graph("Div", shares, graph("ReduceSum", shares, "axis", keepdims=1), out="scores")


def has_sigmoids(calibrated: Any) -> bool:  # noqa: ANN401
    """Say whether this is one classifier behind sigmoids."""
    pairs = calibrated.calibrated_classifiers_
    return len(pairs) == 1 and all(
        type(one).__name__ == "_SigmoidCalibration" for one in pairs[0].calibrators
    )
