"""A calibrated support vector machine as an ONNX graph of a few matrix products.

skl2onnx makes ``SVMClassifier`` of it, which adds kernel values up image by image and pair by pair,
and a handful of nodes for each pair of classes: 4,950 pairs with a hundred classes. Here kernel
values are one product, as are votes, and a class takes two nodes. What is worked out is what
`pipeline.heads.onevsone` and ``CalibratedClassifierCV`` do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.export import OPSET

_TINY = np.array([1e-30])  # no norm and no sum of probabilities is 0


def is_machine(estimator: Any) -> bool:  # noqa: ANN401
    """Say whether this is a normaliser and a calibrated SVC with a kernel that is known here."""
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
    if steps != ["Normalizer", "CalibratedClassifierCV"] or estimator[0].norm != "l2":
        return False
    pairs = estimator[1].calibrated_classifiers_
    machine = pairs[0].estimator
    return (
        len(pairs) == 1
        and type(machine).__name__ == "SVC"
        and machine.kernel in ("linear", "rbf")
        and machine.decision_function_shape == "ovr"
        and not machine.break_ties
        and all(type(one).__name__ == "_SigmoidCalibration" for one in pairs[0].calibrators)
    )


def machine_graph(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert such a machine to ``X``, ``(n, dim) float32``, → ``scores``, ``(n, k) float32``."""
    from onnx import TensorProto, helper

    pair = estimator[1].calibrated_classifiers_[0]
    machine, k = pair.estimator, len(pair.classes)
    graph = _Nodes()
    axis = graph.constant("axis", np.array([1]))
    squares = graph("ReduceSumSquare", "X", axis, keepdims=1)
    norm = graph("Sqrt", squares)
    rows = graph("Div", "X", graph("Max", norm, graph.constant("tiny", _TINY)))
    values = _between_pairs(graph, machine, rows)
    decision = values if k == 2 else _votes(graph, values, k)
    slopes = graph.constant("slopes", np.array([[one.a_ for one in pair.calibrators]]))
    offsets = graph.constant("offsets", np.array([[one.b_ for one in pair.calibrators]]))
    one = graph.constant("one", np.ones((1, 1)))
    # Not Sigmoid: onnxruntime's is off by 3e-8, which is much where all probabilities are small.
    exponent = graph("Add", graph("Mul", decision, slopes), offsets)
    shares = graph("Reciprocal", graph("Add", graph("Exp", exponent), one))
    if k == 2:
        other = graph("Sub", one, shares)
        graph("Concat", other, shares, out="scores", axis=1)
    else:
        shares = graph("Add", shares, "tiny")
        graph("Div", shares, graph("ReduceSum", shares, axis, keepdims=1), out="scores")
    made = helper.make_graph(
        graph.nodes,
        "machine",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", dim])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", k])],
        graph.constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])


def _between_pairs(graph: _Nodes, machine: Any, rows: str) -> str:  # noqa: ANN401
    """Return ``(n, pairs)``, positive for a pair's first class; of two classes, for the second."""
    intercepts = graph.constant("intercepts", machine.intercept_[np.newaxis])
    k, pairs = len(machine.classes_), len(machine.intercept_)
    if machine.kernel == "linear" and pairs <= len(machine.support_):
        weights = graph.constant("weights", machine.coef_.T)
        return graph("Add", graph("MatMul", rows, weights), intercepts)
    kernel = _kernel(graph, machine, rows)
    if k == 2:
        weights = graph.constant("weights", machine.dual_coef_.T)
        return graph("Add", graph("MatMul", kernel, weights), intercepts)
    sizes = graph.constant("sizes", machine.n_support_.astype(np.int64))
    split = graph.several("Split", k, kernel, sizes, axis=1)
    ends = np.cumsum(machine.n_support_)
    parts = []
    for number, (part, end) in enumerate(zip(split, ends, strict=True)):
        own = machine.dual_coef_[:, end - machine.n_support_[number] : end]
        parts.append(graph("MatMul", part, graph.constant(f"class_{number}", own.T)))
    flat = graph("Concat", *parts, axis=1)  # class i against its others: columns i (k - 1) and on
    first, second = np.triu_indices(k, 1)
    ahead = graph.constant("ahead", first * (k - 1) + second - 1)
    behind = graph.constant("behind", second * (k - 1) + first)
    both = [graph("Gather", flat, which, axis=1) for which in (ahead, behind)]
    return graph("Add", graph("Add", *both), intercepts)


def _kernel(graph: _Nodes, machine: Any, rows: str) -> str:  # noqa: ANN401
    points = np.asarray(machine.support_vectors_, np.float64)
    if machine.kernel == "linear":
        return graph("MatMul", rows, graph.constant("points", points.T))
    # exp(-gamma |x - s|²), with |x|² worked out, since a row of zeros has no norm 1.
    gamma = float(machine._gamma)
    product = graph("MatMul", rows, graph.constant("points", 2 * gamma * points.T))
    own = graph("ReduceSumSquare", rows, "axis", keepdims=1)
    own = graph("Mul", own, graph.constant("gamma", np.array([[gamma]])))
    theirs = graph.constant("norms", gamma * np.einsum("ij,ij->i", points, points)[np.newaxis])
    return graph("Exp", graph("Sub", graph("Sub", product, own), theirs))


def _votes(graph: _Nodes, values: str, k: int) -> str:
    """Return ``(n, k)``: a class's votes, and between equals the sum of its pairs' values."""
    first, second = np.triu_indices(k, 1)
    sides = np.zeros((len(first), k))
    sides[np.arange(len(first)), first] = 1
    sides[np.arange(len(first)), second] = -1
    graph.constant("sides", sides)
    won = graph("Greater", values, graph.constant("zero", np.array([0.0])))
    votes = graph("MatMul", graph("Cast", won, to=1), "sides")
    votes = graph("Add", votes, graph.constant("seconds", np.arange(k, dtype=float)[np.newaxis]))
    sums = graph("MatMul", values, "sides")
    size = graph("Add", graph("Abs", sums), graph.constant("size", np.array([1.0])))
    return graph(
        "Add",
        votes,
        graph("Div", sums, graph("Mul", size, graph.constant("three", np.array([3.0])))),
    )


class _Nodes:
    """A graph that grows: call it with an operator and its inputs to get the output's name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:  # noqa: ANN401
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

        value = value if value.dtype.kind == "i" else value.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name
