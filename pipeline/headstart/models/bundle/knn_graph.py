"""A vote of the nearest neighbours as an ONNX graph of a few matrix products.

skl2onnx makes a ``Scan`` over the images of it, which costs as much as the network, or an operator
that onnxruntime alone has. Here the nearest are found by one product, and their distances, which
may weigh the votes, worked out from differences: a product would leave little of small ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.models.bundle.graph_builder import Nodes, calibrate, has_sigmoids, unit_rows


def is_neighbours(estimator: Any) -> bool:  # noqa: ANN401
    """Say whether this is a normaliser and a kNN, calibrated or not, that is known here."""
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
    if len(steps) != 2 or steps[0] != "Normalizer" or estimator[0].norm != "l2":
        return False
    if steps[1] == "CalibratedClassifierCV" and not has_sigmoids(estimator[1]):
        return False
    found = _classifier(estimator)
    return (
        type(found).__name__ == "KNeighborsClassifier"
        and found.effective_metric_ == "euclidean"
        and found.weights in ("uniform", "distance")
    )


def neighbours_graph(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert such a vote to ``X``, ``(n, dim) float32``, → ``scores``, ``(n, k) float32``."""
    voters, k = _classifier(estimator), len(estimator.classes_)
    graph = Nodes()
    shares = _shares(graph, voters, unit_rows(graph), k)
    if voters is estimator[1]:
        graph("Identity", shares, out="scores")
        return graph.model(dim, k)
    if k == 2:  # the second class's, as scikit-learn calibrates
        shares = graph("Gather", shares, graph.constant("second", np.array([1])), axis=1)
    calibrate(graph, estimator[1].calibrated_classifiers_[0], shares)
    return graph.model(dim, k)


def _classifier(estimator: Any) -> Any:  # noqa: ANN401
    """Return what votes: the last step, or what it calibrates."""
    pairs = getattr(estimator[1], "calibrated_classifiers_", None)
    return pairs[0].estimator if pairs else estimator[1]


def _shares(graph: Nodes, voters: Any, rows: str, k: int) -> str:  # noqa: ANN401
    """Return ``(n, k)``, each class's share of the votes."""
    points = voters._fit_X  # may be most of what memory holds, so it is not copied
    held = graph.constant("points", points)
    squares = np.einsum("ij,ij->i", points, points, dtype=np.float64)
    halves = graph.constant("halves", -0.5 * squares)
    closeness = graph("Gemm", rows, held, halves, transB=1)  # (|x|² - |x - p|²) / 2
    count = graph.constant("count", np.array([voters.n_neighbors]))
    _, which = graph.several("TopK", 2, closeness, count, axis=1)
    codes = graph.constant("codes", np.asarray(voters._y, np.int64))
    size, ends = graph.constant("size", np.array([k])), graph.constant("ends", np.array([0.0, 1.0]))
    votes = graph("OneHot", graph("Gather", codes, which, axis=0), size, ends, axis=-1)
    if voters.weights == "distance":
        weights = graph("Unsqueeze", _weights(graph, rows, held, which), "two")
        votes = graph("Mul", votes, weights)
    total = graph("ReduceSum", votes, "axis", keepdims=0)
    return graph("Div", total, graph("ReduceSum", total, "axis", keepdims=1))


def _weights(graph: Nodes, rows: str, held: str, which: str) -> str:
    """Return ``(n, neighbours)``, 1 / distance; where there are some at 0, those count alone."""
    two = graph.constant("two", np.array([2]))
    apart = graph("Sub", graph("Gather", held, which, axis=0), graph("Unsqueeze", rows, "axis"))
    distance = graph("Sqrt", graph("ReduceSumSquare", apart, two, keepdims=0))
    same = graph("Equal", distance, graph.constant("zero", np.array([0.0])))
    alone = graph("Cast", same, to=1)
    some = graph("Cast", graph("ReduceMax", alone, "axis", keepdims=1), to=9)  # float, bool
    return graph("Where", some, alone, graph("Reciprocal", distance))
