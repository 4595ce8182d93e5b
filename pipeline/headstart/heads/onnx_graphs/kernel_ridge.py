"""Kernel ridge regression as an ONNX graph of two matrix products, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.heads.calibration import SHARES
from headstart.heads.onnx_graphs.builder import DOUBLE, FLOAT, Nodes, gaussian, softmax, unit_rows


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a pipeline whose last step is a calibrated ``KernelRidge``."""
    graph, classifier = Nodes(), estimator[-1]
    model = classifier.estimator
    rows = graph("Cast", unit_rows(graph, estimator), to=DOUBLE)
    points = np.asarray(model.X_fit_, np.float32)  # exact: the rows were float32
    stored = graph("Cast", graph.constant("points", points), to=DOUBLE)
    product = graph("MatMul", rows, graph("Transpose", stored))
    kernel = gaussian(graph, rows, product, points, float(model.gamma))
    values = graph("MatMul", kernel, graph.exact("weights", model.dual_coef_))
    values = graph("Cast", values, to=FLOAT)
    softmax(graph, classifier, graph("Relu", values) if classifier.link == SHARES else values)
    return graph.model(dim, len(classifier.classes_))
