"""Stage: a backbone and a fitted head become one ONNX file, proved before it is published.

The file takes the backbone's ``uint8`` images and returns ``label`` (index into the class names),
``probabilities`` and ``features``; class names, preprocessing and a summary of the training are in
its metadata. Predicting with it needs no scikit-learn and unpickles nothing.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HeadstartError
from pipeline.export import OPSET
from pipeline.files import replacing
from pipeline.runner import (
    HEAD_INPUT,
    INPUT,
    LABEL,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
    open_session,
)

MIN_AGREEMENT = 0.999  # of labels; what is missing are ties
MAX_DIFFERENCE = 1e-4  # of probabilities
_ML_OPSET = 3
_CDIST_DOMAIN = "com.microsoft"
_HEAD = "head_"  # prefix of the head's names in the joined graph


@dataclass(frozen=True)
class Agreement:
    """How the ONNX head compares with scikit-learn's on the same features.

    Attributes:
        rows: feature vectors compared.
        labels: share of equal labels.
        max_difference: largest absolute difference of a probability.
    """

    rows: int
    labels: float
    max_difference: float

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"ONNX against scikit-learn on {self.rows:,} rows: {self.labels:.2%} equal labels, "
            f"probabilities within {self.max_difference:.1e}"
        )


def bundle(
    backbone: Path,
    estimator: Any,  # noqa: ANN401 - a scikit-learn classifier
    classes: tuple[str, ...],
    features: NDArray[np.float32],
    summary: dict[str, Any],
    out: Path,
) -> Agreement:
    """Write the model; one that does not agree with scikit-learn is not written.

    Args:
        backbone: the backbone's ONNX file.
        estimator: a fitted classifier on ``(n, d)`` features, of class codes.
        classes: the names that the codes index.
        features: ``(n, d) float32``, rows on which the agreement is proved.
        summary: facts about the training (JSON), kept in the metadata.
        out: the file to write.

    Raises:
        HeadstartError: the head cannot be converted, or does not agree.
        OutputError: the file cannot be written.
    """
    import onnx
    from onnx import compose, helper

    head = _head_graph(estimator, features.shape[1])
    trunk = onnx.load(backbone)
    metadata = {prop.key: prop.value for prop in trunk.metadata_props}
    head.ir_version = trunk.ir_version
    model = compose.merge_models(trunk, head, io_map=[(OUTPUT, HEAD_INPUT)], name="headstart")
    model.graph.output.append(trunk.graph.output[0])  # for embeddings, and the certificate
    known = [classes[code] for code in estimator.classes_]
    facts = {"classes": known, "software": {"headstart": version("headstart")}} | summary
    metadata[MODEL_METADATA] = json.dumps(facts)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    with replacing(out) as partial:
        onnx.save(head, partial)
        agreement = _agreement(partial, estimator, features)
        if agreement.labels < MIN_AGREEMENT or agreement.max_difference > MAX_DIFFERENCE:
            raise HeadstartError(f"{out.name} was not written: it does not agree ({agreement})")
        onnx.save(model, partial)
        _runs(partial, trunk)
    return agreement


def _head_graph(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a head to ``features`` → ``label``, ``probabilities``; the label is the argmax."""
    from onnx import TensorProto, compose, helper
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
                target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET, _CDIST_DOMAIN: 1},
            )
    except Exception as error:  # skl2onnx raises many kinds for what it cannot convert
        raise HeadstartError(f"the head cannot be converted to ONNX: {error}") from error
    _mend_distance_weights(graph)
    graph = compose.add_prefix(graph, _HEAD)
    # One rule for every head: scikit-learn's own label output breaks ties in its own ways.
    scores = graph.graph.output[1].name
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


def _agreement(path: Path, estimator: Any, features: NDArray[np.float32]) -> Agreement:  # noqa: ANN401
    session = open_session(path)
    label, scores = session.run([LABEL, PROBABILITIES], {HEAD_INPUT: features})
    expected = estimator.predict_proba(features)
    return Agreement(
        rows=len(features),
        labels=float(np.mean(label == expected.argmax(axis=1))),
        max_difference=float(np.abs(scores - expected).max()),
    )


def _runs(path: Path, trunk: Any) -> None:  # noqa: ANN401 - ModelProto
    """Make sure that the joined graph loads and takes images, one and several."""
    session = open_session(path)
    shape = trunk.graph.input[0].type.tensor_type.shape.dim
    size = (shape[1].dim_value, shape[2].dim_value)
    for count in (1, 3):
        images = np.zeros((count, *size, 3), np.uint8)
        label, scores = session.run([LABEL, PROBABILITIES], {INPUT: images})
        if label.shape != (count,) or not np.isfinite(scores).all():
            raise HeadstartError(f"{path.name} was not written: the joined graph does not run")
