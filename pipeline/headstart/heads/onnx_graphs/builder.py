"""A builder of small ONNX graphs, and the two parts that all heads share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.onnx_format import OPSET
from headstart.heads.calibration import PAIRS, SHARES
from headstart.heads.ovo import LARGEST
from headstart.heads.training_set import signed_root

FLOAT, DOUBLE = 1, 11  # types in ONNX
_TINY = np.array([1e-30])  # avoids division by a zero norm
_ENDS = (("lowest", -1.0), ("highest", 1.0))


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
        value = value if value.dtype.kind == "i" else value.astype(np.float32, copy=False)
        return self.exact(name, value)

    def exact(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant in its own type and return its name."""
        from onnx import numpy_helper

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


def unit_rows(graph: Nodes, estimator: Any) -> str:  # noqa: ANN401
    """Add `TrainingSet.steps`: perhaps a square root, then norm 1; zeros stay zeros."""
    rows = root(graph, "X") if has_root(estimator) else "X"
    axis = graph.constant("axis", np.array([1]))
    norm = graph("Sqrt", graph("ReduceSumSquare", rows, axis, keepdims=1))
    return graph("Div", rows, graph("Max", norm, graph.constant("tiny", _TINY)))


def has_root(estimator: Any) -> bool:  # noqa: ANN401
    """Return whether a pipeline begins with `signed_root`."""
    first = next(iter(getattr(estimator, "steps", [("", None)])))[1]
    return getattr(first, "func", None) is signed_root


def root(graph: Nodes, rows: str, out: str = "") -> str:
    """Add `signed_root`."""
    return graph("Mul", graph("Sign", rows), graph("Sqrt", graph("Abs", rows)), out=out)


def gaussian(
    graph: Nodes,
    rows: str,
    product: str,
    points: NDArray[Any],
    gamma: float,
    prefix: str = "",
) -> str:
    """Return ``exp(-gamma |x - p|^2)`` in float64, given ``x . p``, after `unit_rows`.

    ``|x|^2`` is computed, since a row of zeros does not have norm 1. A prefix tells the constants
    of several kernels apart.
    """
    exact = points.astype(np.float64)
    own = graph("ReduceSum", graph("Mul", rows, rows), "axis", keepdims=1)
    norms = np.einsum("ij,ij->i", exact, exact)[np.newaxis]
    theirs = graph.exact(f"{prefix}norms", norms)
    twice = graph("Mul", product, graph.exact(f"{prefix}twice", np.array(2.0)))
    distance = graph("Sub", graph("Add", own, theirs), twice)
    factor = graph.exact(f"{prefix}gamma", np.array(-gamma))
    return graph("Exp", graph("Mul", distance, factor))


def softmax(graph: Nodes, classifier: Any, values: str) -> None:  # noqa: ANN401
    """Add a ``CalibratedClassifier``'s probabilities as ``scores``, after `unit_rows`.

    The values are those that its link reads; for two classes, decision values have both columns.
    """
    slope = graph.constant("slope", np.array(classifier.slope))
    k = len(classifier.classes_)
    if classifier.link == PAIRS:
        logs = _coupled(graph, values, slope, k)
    else:
        if classifier.link == SHARES:
            smoothing = graph.constant("smoothing", np.array(classifier.smoothing))
            values = graph("Log", graph("Add", values, smoothing))
        logs = graph("Mul", values, slope)
    bias = np.broadcast_to(np.asarray(classifier.bias, np.float64), (k,))
    logs = graph("Add", logs, graph.constant("bias", bias[np.newaxis]))
    graph("Softmax", logs, out="scores", axis=1)


def _coupled(graph: Nodes, values: str, slope: str, k: int) -> str:
    """Return what `headstart.heads.ovo.coupled` does, by two products with 0 and 1."""
    ends = [graph.constant(name, np.array(sign * LARGEST)) for name, sign in _ENDS]
    exponents = graph("Clip", graph("Mul", values, slope), *ends)
    sums = []
    for name, columns in zip(("firsts", "seconds"), np.triu_indices(k, 1), strict=True):
        members = graph.constant(name, (columns[:, None] == np.arange(k)).astype(float))
        signed = graph("Neg", exponents) if name == "firsts" else exponents
        sums.append(graph("MatMul", graph("Exp", signed), members))
    total = graph("Add", graph("Add", *sums), graph.constant("unit", np.array(1.0)))
    return graph("Neg", graph("Log", total))
