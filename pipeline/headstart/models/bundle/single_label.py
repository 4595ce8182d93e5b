"""What a model file of one class an image returns, as a part of its target type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import heads
from headstart.backbones.inference.description import LABEL, PROBABILITIES
from headstart.backbones.inference.precision_budget import standard_error
from headstart.core.onnx_format import ModelProto
from headstart.models.bundle.joining import named_scores
from headstart.models.bundle.trained import TrainedHead

if TYPE_CHECKING:
    from headstart.core.records import ImageRef
    from headstart.models.classifier import Classifier

ANSWER = LABEL
Codes = NDArray[np.intp]


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


SCORE = "accuracy"


def truth(model: Classifier, images: Sequence[ImageRef], classes: Collection[str]) -> Codes:
    """Return the codes of the images' classes, ``(n,)``; -1 for others than the model's."""
    code = {name: number for number, name in enumerate(model.classes)}
    return np.array([code.get(image.label or "", -1) for image in images], np.intp)


def decided(model: Classifier, probabilities: NDArray[np.floating]) -> Codes:
    """Return what the model answers, of the shape of `truth`."""
    codes: Codes = probabilities.argmax(axis=1)
    return codes


def score(truth: Codes, probabilities: NDArray[np.floating]) -> float | None:
    """Return the share of right answers where the class is known; None if it is nowhere."""
    right = (probabilities.argmax(axis=1) == truth)[truth >= 0]
    return float(right.mean()) if len(right) else None


def loss_error(truth: Codes, before: NDArray[np.floating], after: NDArray[np.floating]) -> float:
    """Return the standard error of the difference of two scores on the same images, in points."""
    right = [(each.argmax(axis=1) == truth)[truth >= 0].astype(float) for each in (before, after)]
    return standard_error(right[0] - right[1])


def facts(head: TrainedHead) -> dict[str, Any]:
    """Return what the metadata say of the classes."""
    return {"classes": [head.classes[code] for code in head.estimator.classes_]}
