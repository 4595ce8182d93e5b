"""A fitted head becomes an ONNX graph, ``features`` to ``label`` and ``probabilities``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle.machines import is_machine, machine_graph
from pipeline.errors import HeadstartError
from pipeline.export import OPSET
from pipeline.runner import LABEL, PROBABILITIES

ML_OPSET = 3
_CDIST_DOMAIN = "com.microsoft"
_HEAD = "head_"  # prefix of the head's names in the joined graph


def head_graph(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a head to ``features`` → ``label``, ``probabilities``; the label is the argmax."""
    from onnx import TensorProto, compose, helper

    graph = machine_graph(estimator, dim) if is_machine(estimator) else _stock(estimator, dim)
    graph = compose.add_prefix(graph, _HEAD)
    # One rule for every head: scikit-learn's own label output breaks ties in its own ways.
    scores = graph.graph.output[-1].name
    del graph.graph.output[:]
    graph.graph.node.extend(
        [
            helper.make_node("Identity", [scores], [PROBABILITIES]),
            helper.make_node("ArgMax", [scores], [LABEL], axis=1, keepdims=0),
        ]
    )
    k = len(estimator.classes_)
    graph.graph.output.extend(
        [
            helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", k]),
        ]
    )
    return graph


def _stock(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Return what skl2onnx makes of a head; the scores are the last output."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options: dict[Any, Any] = {"zipmap": False}
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if type(last).__name__ == "KNeighborsClassifier":
        # onnxruntime's own distance operator: some twenty times as fast as a scan.
        options = {id(last): {"zipmap": False, "optim": "cdist"}}
    for _, step in getattr(estimator, "steps", []):
        if type(step).__name__ == "Nystroem":
            _teach_nystroem(type(step))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # skl2onnx reads attributes that scikit-learn retires
            graph = to_onnx(
                estimator,
                initial_types=[("X", FloatTensorType([None, dim]))],
                options=options,
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET, _CDIST_DOMAIN: 1},
            )
    except Exception as error:  # skl2onnx raises many kinds for what it cannot convert
        raise HeadstartError(f"the head cannot be converted to ONNX: {error}") from error
    _mend_distance_weights(graph)
    return graph


def _teach_nystroem(kind: type) -> None:
    """Let skl2onnx convert Nyström's description of a Gaussian kernel, which it does not know.

    In float64, as it was fitted: it amplifies rounding errors.
    """
    from onnx import TensorProto
    from skl2onnx import update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType

    def shape(operator: Any) -> None:  # noqa: ANN401
        model = operator.raw_operator
        rows = operator.inputs[0].get_first_dimension()
        operator.outputs[0].type = FloatTensorType([rows, len(model.normalization_)])

    def convert(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
        model = operator.raw_operator
        if model.kernel != "rbf":
            raise HeadstartError(f"Nyström's description of the kernel {model.kernel} is not known")
        points = model.components_.astype(np.float64)

        def constant(name: str, value: NDArray[np.float64]) -> str:
            name = scope.get_unique_variable_name(name)
            shape = list(value.shape)
            container.add_initializer(name, TensorProto.DOUBLE, shape, value.ravel().tolist())
            return str(name)

        def node(operation: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
            name = scope.get_unique_variable_name(operation)
            container.add_node(operation, list(inputs), name, op_version=13, **attributes)
            return str(name)

        rows = node("Cast", operator.inputs[0].full_name, to=TensorProto.DOUBLE)
        twice = node("MatMul", rows, constant("points", -2.0 * points.T))
        row_norms = node("ReduceSum", node("Mul", rows, rows), _axis(scope, container), keepdims=1)
        norms = constant("norms", np.einsum("ij,ij->i", points, points))
        squared = node("Add", node("Add", twice, row_norms), norms)
        kernel = node("Exp", node("Mul", squared, constant("gamma", np.array(-model.gamma))))
        mapped = node("MatMul", kernel, constant("map", model.normalization_.T))
        container.add_node("Cast", mapped, operator.outputs[0].full_name, to=TensorProto.FLOAT)

    update_registered_converter(kind, "SklearnNystroem", shape, convert, overwrite=True)


def _axis(scope: Any, container: Any) -> str:  # noqa: ANN401
    from onnx import TensorProto

    name = scope.get_unique_variable_name("axis")
    container.add_initializer(name, TensorProto.INT64, [1], [1])
    return str(name)


def _mend_distance_weights(graph: Any) -> None:  # noqa: ANN401 - ModelProto
    """Give kNN's votes the weights that they should have.

    skl2onnx 1.20 finds the nearest by the largest negated distances, negates them back with a
    ``Mul`` by -1 twice over and clips what is then negative, so that every vote weighs the same.
    The absolute value is right whatever the sign.
    """
    top = {node.output[0] for node in graph.graph.node if node.op_type == "TopK"}
    for node in graph.graph.node:
        if node.op_type == "Mul" and node.input[0] in top:
            node.op_type = "Abs"
            del node.input[1]
    used = {name for node in graph.graph.node for name in node.input}
    for constant in [c for c in graph.graph.initializer if c.name not in used]:
        graph.graph.initializer.remove(constant)  # or runtimes complain of it
