"""Conversion with skl2onnx."""

from __future__ import annotations

import warnings
from typing import Any

from headstart.core.errors import HeadstartError
from headstart.core.onnx_format import ML_OPSET, OPSET


def convert(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert with skl2onnx; the scores are the graph's last output.

    Raises:
        HeadstartError: skl2onnx cannot convert the estimator.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

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
