"""What a model file of several labels an image returns, as a part of its target type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import LABELS, PROBABILITIES
from headstart.backbones.inference.precision_budget import jackknife_error
from headstart.core.onnx_format import ModelProto
from headstart.core.targets import MULTI_LABEL
from headstart.heads.multilabel import to_onnx
from headstart.heads.multilabel.label_set import UNKNOWN
from headstart.heads.multilabel.scoring import average_precisions
from headstart.models.bundle.joining import named_scores
from headstart.models.bundle.trained import TrainedHead

if TYPE_CHECKING:
    from headstart.core.records import ImageRef
    from headstart.models.classifier import Classifier

ANSWER = LABELS
States = NDArray[np.int8]


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


SCORE = "mean average precision"


def truth(model: Classifier, images: Sequence[ImageRef], labels: Collection[str]) -> States:
    """Return the labels of images, ``(n, k)``: 1, 0, or -1 where that is unknown.

    That is so for all images if the label is none of those that the source knows.
    """
    states = np.full((len(images), len(model.classes)), UNKNOWN, np.int8)
    code = {name: number for number, name in enumerate(model.classes) if name in labels}
    for row, image in zip(states, images, strict=True):
        if image.labels is not None:
            row[list(code.values())] = 0
            row[[code[name] for name in image.labels.present if name in code]] = 1
            row[[code[name] for name in image.labels.unknown if name in code]] = UNKNOWN
    return states


def decided(model: Classifier, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return what the model answers, of the shape of `truth`."""
    reached: NDArray[np.bool_] = probabilities >= model.label_thresholds
    return reached


def score(truth: States, probabilities: NDArray[np.floating]) -> float | None:
    """Return the mean average precision of the labels that some image has; None without one."""
    precisions = average_precisions(truth, probabilities)
    return float(np.nanmean(precisions)) if np.isfinite(precisions).any() else None


def loss_error(truth: States, before: NDArray[np.floating], after: NDArray[np.floating]) -> float:
    """Return the standard error of the difference of two scores on the same images, in points."""

    def loss(kept: NDArray[np.bool_]) -> float | None:
        scores = [score(truth[kept], each[kept]) for each in (before, after)]
        return None if scores[0] is None or scores[1] is None else scores[0] - scores[1]

    return jackknife_error(len(truth), loss)


def facts(head: TrainedHead) -> dict[str, Any]:
    """Return what the metadata say of the labels."""
    thresholds = [float(value) for value in np.array(head.thresholds, np.float32)]
    return {"target": MULTI_LABEL, "classes": list(head.classes), "thresholds": thresholds}
