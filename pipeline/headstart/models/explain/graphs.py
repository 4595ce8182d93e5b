"""A model's graph, opened for explanations: the values before pooling, and the head's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import OUTPUT, PROBABILITIES
from headstart.backbones.inference.views import features_by_view
from headstart.core.onnx_format import ModelProto, NodeProto

_MEANS = {"ReduceMean", "GlobalAveragePool", "AveragePool"}
_SAME = {  # operators that change a row of features by one factor, or only its shape
    *("Reshape", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Div", "Mul"),
    *("Transpose", "Clip", "LpNormalization"),
}


class Linear(NamedTuple):
    """A head that is linear in its rows: the tensor of the rows, weight and bias.

    ``weight`` is ``(k, d)`` and ``bias`` ``(k,)``. Of a linear SVM, which has weights for each pair
    of classes, they are the means over the pairs of each class, and ``pairs`` is the graph from
    the values of the pairs to probabilities; it is empty for other heads.
    """

    rows: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    pairs: bytes = b""


class Opened(NamedTuple):
    """A model as two graphs.

    Attributes:
        whole: from images, with the tensors ``pooled`` as outputs beside the model's own.
        head: from features to probabilities, and the rows of a linear head.
        features: the tensor of the features of one view or, in a batch, of those that are averaged.
        pooled: the tensors whose means these are, in their order; empty if unknown.
        linear: None for other heads.
    """

    whole: bytes
    head: bytes
    features: str
    pooled: tuple[str, ...]
    linear: Linear | None


def opened(path: Path) -> Opened:
    """Open a model file that Headstart wrote."""
    import onnx

    external_data.refuse(path, "--explain")
    model = onnx.load(path)
    producers = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    features = features_by_view(producers)
    pooled = tuple(_pooled(features, producers) or ())
    linear = _linear(producers, constants) or _pairwise(model, constants)
    head = _head(model)
    if linear is not None:
        _add_output(head, linear.rows)
    for name in dict.fromkeys((*pooled, features)):
        if name != OUTPUT:
            _add_output(model, name)
    return Opened(model.SerializeToString(), head.SerializeToString(), features, pooled, linear)


def head_alone(path: Path) -> bytes:
    """Return the graph from features to probabilities of a model file that Headstart wrote."""
    import onnx

    graph: bytes = _head(onnx.load(path)).SerializeToString()
    return graph


def _head(model: ModelProto) -> ModelProto:
    from onnx.utils import Extractor

    return Extractor(model).extract_model([OUTPUT], [PROBABILITIES])


def _add_output(model: ModelProto, name: str) -> None:
    """Make a tensor an output, whose type onnxruntime infers."""
    import onnx

    model.graph.output.append(onnx.ValueInfoProto(name=name))


def _pooled(name: str, producers: Mapping[str, NodeProto]) -> list[str] | None:
    """Return the tensors that the features are means of, in order; None if some part is not."""
    node = producers.get(name)
    if node is None:
        return None
    if node.op_type in _MEANS:
        return [node.input[0]]
    if node.op_type == "Concat":
        parts = [_pooled(each, producers) for each in node.input]
        if any(part is None for part in parts):
            return None
        return [tensor for part in parts for tensor in part or ()]
    return _pooled(node.input[0], producers) if node.op_type in _SAME else None


def _linear(producers: Mapping[str, NodeProto], constants: Mapping[str, Any]) -> Linear | None:
    """Return the weights behind probabilities that come from a linear function and a link."""
    node = producers.get(PROBABILITIES)
    while node is not None and node.op_type in ("Identity", "Normalizer"):
        node = producers.get(node.input[0])
    if node is None:
        return None
    if node.op_type == "LinearClassifier":
        attributes = {each.name: each for each in node.attribute}
        bias = np.array(attributes["intercepts"].floats, np.float64)
        weight = np.array(attributes["coefficients"].floats, np.float64)
        return Linear(node.input[0], weight.reshape(len(bias), -1), bias)
    if node.op_type not in ("Softmax", "Sigmoid"):
        return None
    return _product(node.input[0], producers, constants)


def _pairwise(model: ModelProto, constants: Mapping[str, Any]) -> Linear | None:
    """Return the means of the weights of pairs of classes, the only way to the probabilities."""
    from onnx import numpy_helper

    consumers = {name: node for node in model.graph.node for name in node.input}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        added = consumers.get(node.output[0])
        k = round((1 + np.sqrt(1 + 8 * weight.shape[-1])) / 2)
        if added is None or added.op_type != "Add" or k * (k - 1) // 2 != weight.shape[-1]:
            continue
        constant = next((name for name in added.input if name in constants), "")
        if not constant:
            continue
        bias = numpy_helper.to_array(constants[constant]).astype(np.float64).ravel()
        tail = _tail(model, added.output[0])
        if tail is None or len(bias) != weight.shape[-1]:
            continue
        signs = pair_signs(k)
        own = signs.T @ weight.T / (k - 1), signs.T @ bias / (k - 1)
        return Linear(node.input[0], *own, tail)
    return None


def _tail(model: ModelProto, name: str) -> bytes | None:
    """Return the graph from a tensor to the probabilities; None if they need others, too."""
    from onnx import TensorProto, helper

    producers = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    needed, waiting = set(), [PROBABILITIES]
    while waiting:
        tensor = waiting.pop()
        if tensor in needed or tensor == name or not tensor:
            continue
        needed.add(tensor)
        if tensor not in constants:
            if tensor not in producers:
                return None
            waiting += producers[tensor].input
    ends = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, None)
        for each in (name, PROBABILITIES)
    ]
    graph = helper.make_graph(
        [node for node in model.graph.node if needed.intersection(node.output)],
        "pairs",
        ends[:1],
        ends[1:],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    versions = {"opset_imports": model.opset_import, "ir_version": model.ir_version}
    tail: bytes = helper.make_model(graph, **versions).SerializeToString()
    return tail


def pair_signs(k: int) -> NDArray[np.float64]:
    """Return ``(k (k - 1) / 2, k)``: 1 for the first class of each pair, -1 for the second."""
    first, second = np.triu_indices(k, 1)
    signs = np.zeros((len(first), k))
    signs[np.arange(len(first)), first] = 1
    signs[np.arange(len(first)), second] = -1
    return signs


def _product(
    name: str, producers: Mapping[str, NodeProto], constants: Mapping[str, Any]
) -> Linear | None:
    """Return the weights of a product with constants added and multiplied afterwards."""
    from onnx import numpy_helper

    scale, bias = np.ones(1), np.zeros(1)
    while (node := producers.get(name)) is not None:
        others = [
            numpy_helper.to_array(constants[each]).astype(np.float64)
            for each in node.input
            if each in constants
        ]
        if node.op_type == "Gemm" and len(others) > 1:
            turned = any(each.name == "transB" and each.i for each in node.attribute)
            weight = (others[0] if turned else others[0].T) * scale.reshape(-1, 1)
            return Linear(node.input[0], weight, bias + scale * others[1].ravel())
        if node.op_type == "MatMul" and node.input[1] in constants:
            weight = others[0].T * scale.reshape(-1, 1)
            return Linear(node.input[0], weight, np.broadcast_to(bias, len(weight)).copy())
        if node.op_type == "Add" and others:
            bias = bias + scale * others[0].ravel()
        elif node.op_type == "Mul" and others:
            scale = scale * others[0].ravel()
        elif node.op_type != "Cast":
            return None
        name = next(each for each in node.input if each not in constants)
    return None
