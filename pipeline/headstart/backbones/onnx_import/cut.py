"""Choose where to cut a foreign graph: at a tensor that a user names, or before its classifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.backbones.onnx_import.load import DOMAINS, subgraphs, walk
from headstart.core.errors import BackboneError, near_matches, one_line
from headstart.core.onnx_format import ModelProto, NodeProto

IMAGENET_CLASSES = (1000, 1001, 11221, 21841, 21843)
_SCORES = {"Softmax", "LogSoftmax"}
_SHAPING = {  # what may stand between a classifier's scores and the output
    *_SCORES,
    "Identity",
    "Cast",
    "Dropout",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "GlobalAveragePool",
    "AveragePool",
    "ReduceMean",
    "Relu",
}
_UNBOUNDED = ("Loop", "Scan", "SequenceMap")  # an image can decide how long these run
_SHOWN = 6


@dataclass(frozen=True)
class Cut:
    """A tensor to stop at.

    ``node`` is the name that a user may give it. ``note`` says how it was chosen, and is empty if
    the user named it.
    """

    tensor: str
    node: str
    note: str


class Graph:
    """A graph with its nodes indexed by the tensors that they make."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.maker = {name: node for node in self.graph.node for name in node.output if name}
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in self.graph.initializer}
        self.inputs = [tensor for tensor in self.graph.input if tensor.name not in self.constants]
        self.outputs = [tensor.name for tensor in self.graph.output]

    def constant(self, name: str) -> Any:  # noqa: ANN401 - TensorProto or None
        """Return a tensor whose value does not depend on the image, or None."""
        node = self.maker.get(name)
        if node is not None and node.op_type == "Constant":
            return next(
                (attribute.t for attribute in node.attribute if attribute.name == "value"), None
            )
        return self.constants.get(name)

    def needed(self, tensor: str) -> list[Any]:
        """Return the nodes that a tensor depends on, in the graph's order."""
        reached: set[int] = set()
        waiting, seen = [tensor], {tensor}
        while waiting:
            node = self.maker.get(waiting.pop())
            if node is None or id(node) in reached:
                continue
            reached.add(id(node))
            fresh = set(names_read_by(node)) - seen
            seen |= fresh
            waiting += fresh
        return [node for node in self.graph.node if id(node) in reached]


def names_read_by(node: NodeProto) -> Iterable[str]:
    """Yield the names that a node reads, those in its subgraphs included."""
    for inner in walk([node]):
        yield from filter(None, inner.input)
        yield from (output.name for graph in subgraphs(inner) for output in graph.output)


def choose(graph: Graph, node: str) -> Cut:
    """Return where to cut: at the tensor or node that a user names, or before the classifier.

    The last linear step is a classifier if a softmax follows, if it gives as many scores as
    ImageNet has classes, or if it is a 1 × 1 convolution that predicts from maps. Without a
    classifier the output itself is taken.

    Raises:
        BackboneError: there is no such tensor, or there are several outputs to choose from.
    """
    if node:
        return Cut(_named(graph, node), node, "")
    outputs = [name for name in graph.outputs if name in graph.maker]
    if len(outputs) != 1:
        raise BackboneError(
            f"the file has {len(outputs)} outputs: {', '.join(map(one_line, outputs[:_SHOWN]))}"
            f"{', …' if len(outputs) > _SHOWN else ''}; choose one by adding #NAME to its path, as "
            "listed by: headstart backbones onnx:PATH --layers"
        )
    match = _before_classifier(graph, outputs[0])
    if match is None:
        return Cut(outputs[0], outputs[0], f"its output {one_line(outputs[0])} was taken")
    tensor, why = match
    reason = (
        f"{one_line(tensor)} was taken, which goes into {why} (#{one_line(outputs[0])} takes that)"
    )
    return Cut(tensor, tensor, reason)


def _named(graph: Graph, node: str) -> str:
    if node in graph.maker:
        return node
    for node_ in graph.graph.node:
        if node_.name == node and node_.output:
            return str(node_.output[0])
    names = {*graph.maker, *(node_.name for node_ in graph.graph.node if node_.name)}
    raise BackboneError(
        f"no node {one_line(node)!r} in the file; {near_matches(node, names)}"
        "see: headstart backbones onnx:PATH --layers"
    )


def _before_classifier(graph: Graph, output: str) -> tuple[str, str] | None:
    """Return the tensor that a classifier reads and what the classifier is, if there is one."""
    name, passed = output, set()
    while (node := graph.maker.get(name)) is not None and node.op_type in _SHAPING:
        passed.add(node.op_type)
        name = node.input[0]
    linear = _linear(graph, name)
    if linear is None:
        return None
    source, scores, is_map = linear
    if passed & _SCORES:
        return source, f"its classifier of {scores:,} classes"
    if scores in IMAGENET_CLASSES:
        return source, f"its classifier of {scores:,} classes, as many as ImageNet has"
    if is_map and not passed & {"Relu", "GlobalAveragePool", "AveragePool", "ReduceMean"}:
        return source, f"maps of {scores:,} predictions"
    return None


def _linear(graph: Graph, name: str) -> tuple[str, int, bool] | None:
    """Return a linear step's input, how many values it gives, and whether for every place."""
    node = graph.maker.get(name)
    if node is not None and node.op_type in ("Add", "BatchNormalization"):
        kept = [name_ for name_ in node.input if graph.constant(name_) is None]
        node = graph.maker.get(kept[0]) if len(kept) == 1 else None
    if node is None or len(node.input) < 2:
        return None
    weight = graph.constant(node.input[1])
    if weight is None:
        return None
    dims = list(weight.dims)
    if node.op_type == "Gemm" and len(dims) == 2:
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return node.input[0], dims[0 if turned else 1], False
    if node.op_type == "MatMul" and len(dims) == 2:
        return node.input[0], dims[1], False
    if node.op_type == "Conv" and dims[2:] == [1, 1]:
        return node.input[0], dims[0], True
    return None


def check_operators(nodes: Sequence[Any]) -> None:
    """Refuse operators that onnxruntime does not have, and loops, which may never end."""
    every = list(walk(nodes))
    foreign = {f"{node.domain}.{node.op_type}" for node in every if node.domain not in DOMAINS}
    if foreign:
        raise BackboneError(
            f"the file needs operators that onnxruntime does not support: {_list(foreign)}; cut it "
            "before them with #NODE, or export it with standard operators"
        )
    loops = {node.op_type for node in every if node.op_type in _UNBOUNDED}
    if loops:
        raise BackboneError(
            f"the file holds loops ({_list(loops)}), which may never end; cut it before "
            "them with #NODE, or export it without"
        )


def _list(names: set[str]) -> str:
    shown = sorted(map(one_line, names))
    return ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")
