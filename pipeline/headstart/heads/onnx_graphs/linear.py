"""Linear classifiers, on rows or on their Nyström approximation, as ONNX graphs.

skl2onnx has no converter for the Nyström approximation, nor for calibrated scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.heads.onnx_graphs.builder import DOUBLE, FLOAT, Nodes, gaussian, softmax, unit_rows


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a normaliser, perhaps a ``Nystroem``, and calibrated least squares."""
    graph, classifier = Nodes(), estimator[-1]
    rows = unit_rows(graph, estimator)
    for _, step in estimator.steps[:-1]:
        if type(step).__name__ == "Nystroem":
            rows = _nystroem(graph, step, rows)
    model = classifier.estimator
    weights, intercepts = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    if len(classifier.classes_) == 2:
        weights, intercepts = np.vstack([-weights, weights]), np.hstack([-intercepts, intercepts])
    product = graph("MatMul", rows, graph.constant("weights", weights.T))
    scores = graph("Add", product, graph.constant("intercepts", intercepts[np.newaxis]))
    softmax(graph, classifier, scores)
    return graph.model(dim, len(classifier.classes_))


def _nystroem(graph: Nodes, model: Any, rows: str) -> str:  # noqa: ANN401
    """Return the approximation, computed in float64, as it amplifies rounding errors."""
    points = np.asarray(model.components_)
    rows = graph("Cast", rows, to=DOUBLE)
    product = graph("MatMul", rows, graph.exact("points", points.T.astype(np.float64)))
    kernel = gaussian(graph, rows, product, points, float(model.gamma))
    return graph(
        "Cast", graph("MatMul", kernel, graph.exact("map", model.normalization_.T)), to=FLOAT
    )
