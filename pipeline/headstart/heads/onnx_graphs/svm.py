"""A calibrated support vector machine as an ONNX graph of a few matrix products.

skl2onnx writes ``SVMClassifier``, which sums kernel values image by image and pair by pair, and
several nodes for each of the 4,950 pairs of a hundred classes. Here one product gives all kernel
values, two the coupling, and a class takes two nodes. The arithmetic is that of
`headstart.heads.ovo`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.heads.onnx_graphs.builder import DOUBLE, FLOAT, Nodes, gaussian, softmax, unit_rows


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a normaliser and a calibrated SVC."""
    graph, classifier = Nodes(), estimator[-1]
    softmax(graph, classifier, _pairs(graph, classifier.estimator, unit_rows(graph, estimator)))
    return graph.model(dim, len(classifier.classes_))


def _pairs(graph: Nodes, machine: Any, rows: str) -> str:  # noqa: ANN401
    """Return ``(n, pairs)``, positive for a pair's first class.

    The Gaussian kernel is computed in float64: sums over many support vectors cancel, and the
    coupling amplifies what is left of rounding errors.
    """
    k, pairs = len(machine.classes_), len(machine.intercept_)
    sign = -1.0 if k == 2 else 1.0  # libsvm's is that of the second class
    intercepts = sign * machine.intercept_[np.newaxis]
    if machine.kernel == "linear" and pairs <= len(machine.support_):
        weights = graph.constant("weights", sign * machine.coef_.T)
        product = graph("MatMul", rows, weights)
        return graph("Add", product, graph.constant("intercepts", intercepts))
    kernel = _kernel(graph, machine, rows)
    if k == 2:
        values = graph("MatMul", kernel, graph.exact("weights", -machine.dual_coef_.T))
    else:
        values = _by_class(graph, machine, kernel, k)
    values = graph("Add", values, graph.exact("intercepts", intercepts))
    return graph("Cast", values, to=FLOAT)


def _by_class(graph: Nodes, machine: Any, kernel: str, k: int) -> str:  # noqa: ANN401
    sizes = graph.constant("sizes", machine.n_support_.astype(np.int64))
    split = graph.several("Split", k, kernel, sizes, axis=1)
    ends = np.cumsum(machine.n_support_)
    parts = []
    for number, (part, end) in enumerate(zip(split, ends, strict=True)):
        own = machine.dual_coef_[:, end - machine.n_support_[number] : end]
        parts.append(graph("MatMul", part, graph.exact(f"class_{number}", own.T)))
    flat = graph("Concat", *parts, axis=1)  # class i against its others: columns i (k - 1) and on
    first, second = np.triu_indices(k, 1)
    ahead = graph.constant("ahead", first * (k - 1) + second - 1)
    behind = graph.constant("behind", second * (k - 1) + first)
    return graph("Add", *(graph("Gather", flat, which, axis=1) for which in (ahead, behind)))


def _kernel(graph: Nodes, machine: Any, rows: str) -> str:  # noqa: ANN401
    points = np.asarray(machine.support_vectors_, np.float32)
    rows = graph("Cast", rows, to=DOUBLE)
    # Stored as float32, which is exact: the rows were.
    stored = graph("Cast", graph.constant("points", points.T), to=DOUBLE)
    product = graph("MatMul", rows, stored)
    if machine.kernel == "linear":
        return product
    return gaussian(graph, rows, product, points, float(machine.gamma))
