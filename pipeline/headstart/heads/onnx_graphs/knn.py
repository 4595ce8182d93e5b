"""A nearest-neighbour vote as an ONNX graph of a few matrix products.

skl2onnx writes a ``Scan`` over the images, which costs as much as the network, or an operator that
only onnxruntime implements. Here one product finds the nearest rows and the weights of their votes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.heads.onnx_graphs.builder import Nodes, softmax, unit_rows


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a normaliser and a calibrated Euclidean kNN."""
    graph, classifier = Nodes(), estimator[-1]
    k = len(classifier.classes_)
    softmax(graph, classifier, _shares(graph, classifier.estimator, unit_rows(graph, estimator), k))
    return graph.model(dim, k)


def _shares(graph: Nodes, voters: Any, rows: str, k: int) -> str:  # noqa: ANN401
    # scikit-learn has no public name for these. The rows may fill most of memory, so no copy.
    points, of_points = voters._fit_X, voters._y
    places = graph.constant("points", points)
    squares = np.einsum("ij,ij->i", points, points, dtype=np.float64)
    halves = graph.constant("halves", -0.5 * squares)
    closeness = graph("Gemm", rows, places, halves, transB=1)  # (|x|² - |x - p|²) / 2
    count = graph.constant("count", np.array([voters.n_neighbors]))
    nearest, which = graph.several("TopK", 2, closeness, count, axis=1)
    codes = graph.constant("codes", np.asarray(of_points, np.int64))
    size, ends = graph.constant("size", np.array([k])), graph.constant("ends", np.array([0.0, 1.0]))
    votes = graph("OneHot", graph("Gather", codes, which, axis=0), size, ends, axis=-1)
    first = graph("ReduceMax", nearest, "axis", keepdims=1)
    twice = graph.constant("twice", np.array(2.0 * voters.weights.gamma))
    weights = graph("Exp", graph("Mul", graph("Sub", nearest, first), twice))
    two = graph.constant("two", np.array([2]))
    votes = graph("Mul", votes, graph("Unsqueeze", weights, two))
    total = graph("ReduceSum", votes, "axis", keepdims=0)
    return graph("Div", total, graph("ReduceSum", total, "axis", keepdims=1))
