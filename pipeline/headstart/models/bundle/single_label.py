"""What a model file of one class an image returns, as a part of its target type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import heads
from headstart.backbones.inference.description import LABEL, PROBABILITIES
from headstart.core.onnx_format import ModelProto
from headstart.models.bundle.joining import named_scores
from headstart.models.bundle.trained import TrainedHead

ANSWER = LABEL


def graph(head: TrainedHead, dim: int) -> ModelProto:
    """Return a head's graph: outputs ``label``, ``(n,)``, and ``probabilities``, ``(n, k)``.

    The label is the argmax for every head: scikit-learn's own label output breaks ties in ways
    that differ from head to head.
    """
    from onnx import TensorProto, helper

    model = named_scores(heads.to_onnx(head.family, head.estimator, dim))
    model.graph.node.append(
        helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=1, keepdims=0)
    )
    k = len(head.estimator.classes_)
    model.graph.output.extend(
        [
            helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", k]),
        ]
    )
    return model


def answers(head: TrainedHead, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the answer output that goes with scikit-learn's probabilities."""
    labels: NDArray[np.intp] = probabilities.argmax(axis=1)
    return labels


def facts(head: TrainedHead) -> dict[str, Any]:
    """Return what the metadata say of the classes."""
    return {"classes": [head.classes[code] for code in head.estimator.classes_]}
