"""Conversion with skl2onnx, extended by the Nyström approximation, which it lacks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import HeadstartError
from headstart.core.onnx_format import ML_OPSET, OPSET


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert with skl2onnx; the scores are the graph's last output.

    Raises:
        HeadstartError: skl2onnx cannot convert the estimator.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    for _, step in getattr(estimator, "steps", []):
        if type(step).__name__ == "Nystroem":
            _register_nystroem(type(step))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # skl2onnx reads attributes that scikit-learn deprecates
            graph = to_onnx(
                estimator,
                initial_types=[("X", FloatTensorType([None, dim]))],
                options={"zipmap": False},
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            )
    except Exception as error:  # skl2onnx raises many kinds of errors
        raise HeadstartError(f"the head cannot be converted to ONNX: {error}") from error
    return graph


def _register_nystroem(kind: type) -> None:
    """Teach skl2onnx the Nyström approximation, in float64: it amplifies rounding errors."""
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
            raise HeadstartError(f"a Nyström map of the kernel {model.kernel} cannot be converted")
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
