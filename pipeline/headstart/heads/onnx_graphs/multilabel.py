"""Heads of several labels as one ONNX graph of a few matrix products, ending in a sigmoid.

skl2onnx writes one classifier for each label, and has no converter for calibrated values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.heads.onnx_graphs import mean
from headstart.heads.onnx_graphs.builder import DOUBLE, FLOAT, Nodes, gaussian, unit_rows


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a pipeline, or a ``MeanClassifier`` of several.

    A pipeline ends in a ``OneVsRestClassifier`` or a ``LabelClassifier``.
    """
    if type(estimator).__name__ == "MeanClassifier":
        parts = [convert(member, dim) for member in estimator.estimators]
        return mean.joined(parts, dim, len(estimator.classes_))
    graph, classifier = Nodes(), estimator[-1]
    rows = unit_rows(graph, estimator)
    linear = type(classifier).__name__ == "OneVsRestClassifier"
    odds = _linear(graph, classifier, rows) if linear else _calibrated(graph, classifier, rows)
    graph("Sigmoid", odds, out="scores")
    return graph.model(dim, len(classifier.classes_))


def _linear(graph: Nodes, classifier: Any, rows: str) -> str:  # noqa: ANN401
    weights = np.concatenate([model.coef_ for model in classifier.estimators_])
    intercepts = np.array([model.intercept_[0] for model in classifier.estimators_])
    product = graph("MatMul", rows, graph.constant("weights", weights.T))
    return graph("Add", product, graph.constant("intercepts", intercepts[np.newaxis]))


def _calibrated(graph: Nodes, classifier: Any, rows: str) -> str:  # noqa: ANN401
    """Return the log odds of a ``LabelClassifier``, in float64 until the end.

    Sums over many training rows cancel, so rounding errors of float32 would show.
    """
    parts = []
    for number, model in enumerate(classifier.estimators):
        kind = type(model).__name__
        convert_part = {
            "LinearRegression": _weights,
            "KernelRidge": _kernel,
            "KNeighborsRegressor": _votes,
        }[kind]
        parts.append(convert_part(graph, model, rows, f"part_{number}_"))
    values = parts[0] if len(parts) == 1 else graph("Concat", *parts, axis=1)
    columns = np.concatenate([np.asarray(own) for own in classifier.columns])
    order = np.argsort(columns)
    if (order != np.arange(len(order))).any():
        values = graph("Gather", values, graph.constant("order", order), axis=1)
    slope = graph.exact("slope", np.asarray(classifier.slope, np.float64)[np.newaxis])
    bias = graph.exact("bias", np.asarray(classifier.bias, np.float64)[np.newaxis])
    return graph("Cast", graph("Add", graph("Mul", values, slope), bias), to=FLOAT)


def _weights(graph: Nodes, model: Any, rows: str, prefix: str) -> str:  # noqa: ANN401
    product = graph("MatMul", rows, graph.constant(f"{prefix}weights", model.coef_.T))
    return graph("Cast", product, to=DOUBLE)


def _kernel(graph: Nodes, model: Any, rows: str, prefix: str) -> str:  # noqa: ANN401
    points = np.asarray(model.X_fit_, np.float32)  # exact: the rows were float32
    exact_rows = graph("Cast", rows, to=DOUBLE)
    stored = graph("Cast", graph.constant(f"{prefix}points", points), to=DOUBLE)
    product = graph("MatMul", exact_rows, graph("Transpose", stored))
    kernel = gaussian(graph, exact_rows, product, points, float(model.gamma), prefix)
    dual = np.asarray(model.dual_coef_, np.float64)
    return graph("MatMul", kernel, graph.exact(f"{prefix}weights", dual))


def _votes(graph: Nodes, model: Any, rows: str, prefix: str) -> str:  # noqa: ANN401
    # scikit-learn has no public name for these.
    points, targets = model._fit_X, np.asarray(model._y)
    squares = np.einsum("ij,ij->i", points, points, dtype=np.float64)
    places = graph.constant(f"{prefix}points", points)
    halves = graph.constant(f"{prefix}halves", -0.5 * squares)
    closeness = graph("Gemm", rows, places, halves, transB=1)  # (|x|² - |x - p|²) / 2
    count = graph.constant(f"{prefix}count", np.array([model.n_neighbors]))
    nearest, which = graph.several("TopK", 2, closeness, count, axis=1)
    of_points = graph.constant(f"{prefix}targets", targets.reshape(len(points), -1))
    cast = graph("Gather", of_points, which, axis=0)  # (n, neighbours, labels)
    first = graph("ReduceMax", nearest, "axis", keepdims=1)
    twice = graph.constant(f"{prefix}twice", np.array(2.0 * model.weights.gamma))
    weights = graph("Exp", graph("Mul", graph("Sub", nearest, first), twice))
    weights = graph("Div", weights, graph("ReduceSum", weights, "axis", keepdims=1))
    shares = graph("MatMul", graph("Unsqueeze", weights, "axis"), cast)
    return graph("Cast", graph("Squeeze", shares, "axis"), to=DOUBLE)
