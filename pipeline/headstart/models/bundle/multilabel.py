"""What a model file of several labels an image returns, as a part of its target type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import LABELS, PROBABILITIES
from headstart.core.onnx_format import ModelProto
from headstart.core.targets import MULTI_LABEL
from headstart.heads.multilabel import to_onnx
from headstart.models.bundle.joining import named_scores
from headstart.models.bundle.trained import TrainedHead

ANSWER = LABELS


def graph(head: TrainedHead, dim: int) -> ModelProto:
    """Return a head's graph with the outputs ``labels`` and ``probabilities``, both ``(n, k)``.

    A label is 1 if its probability reaches its threshold, else 0.
    """
    from onnx import TensorProto, helper, numpy_helper

    model = named_scores(to_onnx(head.estimator, dim))
    thresholds = np.array(head.thresholds, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(thresholds, "thresholds"))
    model.graph.node.extend(
        [
            helper.make_node("GreaterOrEqual", [PROBABILITIES, "thresholds"], ["reached"]),
            helper.make_node("Cast", ["reached"], [LABELS], to=TensorProto.INT64),
        ]
    )
    k = len(thresholds)
    model.graph.output.extend(
        [
            helper.make_tensor_value_info(LABELS, TensorProto.INT64, ["n", k]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", k]),
        ]
    )
    return model


def answers(head: TrainedHead, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the answer output that goes with scikit-learn's probabilities."""
    reached: NDArray[np.bool_] = probabilities.astype(np.float32) >= np.array(
        head.thresholds, np.float32
    )
    return reached


def facts(head: TrainedHead) -> dict[str, Any]:
    """Return what the metadata say of the labels."""
    thresholds = [float(value) for value in np.array(head.thresholds, np.float32)]
    return {"target": MULTI_LABEL, "classes": list(head.classes), "thresholds": thresholds}
