"""A calibrated support vector machine as an ONNX graph of a few matrix products.

skl2onnx writes ``SVMClassifier``, which sums kernel values image by image and pair by pair, and
several nodes for each of the 4,950 pairs of a hundred classes. Here one product gives all kernel
values, one the votes, and a class takes two nodes. The arithmetic is that of `headstart.heads.ovo`
and ``CalibratedClassifierCV``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.heads.onnx_graphs.builder import Nodes, calibrate, has_sigmoids, unit_rows


def supports(estimator: Any) -> bool:  # noqa: ANN401
    """Return whether `convert` can express this estimator: a normaliser and a calibrated SVC."""
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
    if steps != ["Normalizer", "CalibratedClassifierCV"] or estimator[0].norm != "l2":
        return False
    if not has_sigmoids(estimator[1]):
        return False
    machine = estimator[1].calibrated_classifiers_[0].estimator
    return (
        type(machine).__name__ == "SVC"
        and (machine.kernel == "linear" or _has_number_for_gamma(machine))
        and machine.decision_function_shape == "ovr"
        and not machine.break_ties
    )


def _has_number_for_gamma(machine: Any) -> bool:  # noqa: ANN401
    return machine.kernel == "rbf" and not isinstance(machine.gamma, str)


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert an estimator that `supports` accepts."""
    pair = estimator[1].calibrated_classifiers_[0]
    graph, k = Nodes(), len(pair.classes)
    values = _between_pairs(graph, pair.estimator, unit_rows(graph))
    calibrate(graph, pair, values if k == 2 else _votes(graph, values, k))
    return graph.model(dim, k)


def _between_pairs(graph: Nodes, machine: Any, rows: str) -> str:  # noqa: ANN401
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


def _kernel(graph: Nodes, machine: Any, rows: str) -> str:  # noqa: ANN401
    points = np.asarray(machine.support_vectors_, np.float64)
    if machine.kernel == "linear":
        return graph("MatMul", rows, graph.constant("points", points.T))
    # exp(-gamma |x - s|²), with |x|² computed, since a row of zeros does not have norm 1.
    gamma = float(machine.gamma)
    product = graph("MatMul", rows, graph.constant("points", 2 * gamma * points.T))
    own = graph("ReduceSumSquare", rows, "axis", keepdims=1)
    own = graph("Mul", own, graph.constant("gamma", np.array([[gamma]])))
    theirs = graph.constant("norms", gamma * np.einsum("ij,ij->i", points, points)[np.newaxis])
    return graph("Exp", graph("Sub", graph("Sub", product, own), theirs))


def _votes(graph: Nodes, values: str, k: int) -> str:
    """Return each class's votes, ``(n, k)``; the sum of its pairs' values breaks ties."""
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
