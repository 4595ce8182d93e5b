"""Choose where to cut a foreign graph: at a tensor that a user names, or before its head."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart.backbones.onnx_import.graph import Graph, Stretch
from headstart.backbones.onnx_import.load import DOMAINS, walk
from headstart.backbones.onnx_import.shapes import Shapes
from headstart.core.errors import BackboneError, near_matches, one_line
from headstart.core.onnx_format import NodeProto

IMAGENET_CLASSES = (1000, 1001, 11221, 21841, 21843)
_FEW = 64  # a last linear step of fewer values is a classifier rather than an embedding
_SCORES = {
    *("Softmax", "LogSoftmax", "Hardmax", "Sigmoid", "ArgMax", "TopK"),
    *("QLinearSoftmax", "QLinearSigmoid"),
}
_SOFTMAX_STEPS = {"Exp", "ReduceSum"}  # of a softmax that is written out
_PLAIN = {  # what may stand between a classifier's scores and the output, and changes little
    *("Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"),
    *("Add", "Sub", "Mul", "Div", "BatchNormalization", "QLinearAdd", "QLinearMul"),
    *("QuantizeLinear", "DequantizeLinear"),
}
_POOLING = {
    *("GlobalAveragePool", "AveragePool", "ReduceMean"),
    *("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearReduceMean"),
}
_SHAPING = {*_PLAIN, *_SCORES, *_SOFTMAX_STEPS, *_POOLING, "ReduceMax", "Relu"}
_NAMES = re.compile(  # of outputs that are scores
    r"(^|[^a-z])(logits?|prob(s|abilit\w*)?|scores?|class(es)?|softmax\w*|pred\w*)", re.IGNORECASE
)
_ENLARGING = {"Resize", "Upsample", "ConvTranspose", "DepthToSpace"}
_BOXES = {"NonMaxSuppression", "RoiAlign", "TopK"}
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


@dataclass(frozen=True)
class _Head:
    """The last linear step of a graph.

    Attributes:
        source: what it reads.
        scores: how many values it gives, and ``width`` how many it reads; 0 if unknown.
        is_map: whether it is a convolution, which gives its values at every place, and
            ``is_point`` whether it sees one place alone.
        passed: operators between it and the output.
        normalised: whether a softmax or sigmoid is one of them.
    """

    source: str
    scores: int = 0
    width: int = 0
    is_map: bool = False
    is_point: bool = False
    passed: set[str] = field(default_factory=set)
    normalised: bool = False


def choose(
    graph: Graph, node: str, shapes: Callable[[], Shapes] = Shapes.unknown, classes: int = 0
) -> Cut:
    """Return where to cut: at the tensor or node that a user names, or before the head.

    The head is a classifier, or what predicts boxes, masks or text. Without one, the output itself
    is taken; of several outputs, the last tensor that all depend on. Where maps became a sequence
    whose first side is no longer the batch, it is the last maps before that.

    ``shapes`` returns the shapes of all tensors. ``classes`` is the number of class names in the
    file.

    Raises:
        BackboneError: there is no such tensor, or no default.
    """
    if node:
        return _floating(graph, Cut(_named(graph, node), node, ""))
    outputs = [name for name in graph.outputs if name in graph.maker and name in graph.moving]
    stretches = graph.stretches(*outputs) if outputs else []
    end = stretches[-1].end or stretches[-1].start if stretches else ""
    chosen = _before_head(graph, stretches, end, shapes, classes) if end else None
    if chosen is None and end not in graph.maker:
        raise BackboneError(
            f"the file has {len(outputs)} outputs that depend on the image, and no tensor before "
            f"them: {_list(set(outputs))}; choose one by adding #NAME to its path, as listed by: "
            "headstart backbones onnx:PATH --layers"
        )
    if chosen is not None:
        tensor, why = chosen
        note = f"{one_line(tensor)} was taken, {why} (#{one_line(outputs[0])} takes the output)"
    elif len(outputs) > 1:
        tensor = end
        note = f"{one_line(end)} was taken, the last tensor that all {len(outputs)} outputs need"
    else:
        tensor, note = end, f"its output {one_line(end)} was taken"
    maps = _before_sequence(graph, tensor, shapes)
    if maps:
        tensor = maps
        note = f"{one_line(maps)} was taken, the last maps before they are read as a sequence"
    return _floating(graph, Cut(tensor, tensor, note))


def _before_sequence(graph: Graph, tensor: str, shapes: Callable[[], Shapes]) -> str:
    """Return the last maps before a tensor that has no row for each image; empty if it has.

    If its shape is unknown, it has none if the way to it leads through a tensor that has none.
    """
    if not any(_moves_batch(node) for node in graph.needed(tensor)):
        return ""  # without a look at shapes, which costs time
    layers, sequences = shapes()
    gates = [stretch.end for stretch in graph.stretches(tensor)]
    if tensor in {layer.name for layer in layers} or sequences.isdisjoint(gates):
        return ""
    maps = {layer.name for layer in layers if len(layer.shape) == 3}
    return next((gate for gate in reversed(gates) if gate in maps), "")


def _moves_batch(node: NodeProto) -> bool:
    """Whether a node moves the first side, which is the batch of images, to another place."""
    perms = [attribute.ints for attribute in node.attribute if attribute.name == "perm"]
    return node.op_type == "Transpose" and any(perm and perm[0] for perm in perms)


def _floating(graph: Graph, cut: Cut) -> Cut:
    """Add the step from whole numbers to floats behind a quantised tensor."""
    scale = graph.scale_of(cut.tensor)
    if not scale:
        return cut
    return Cut(graph.dequantise(cut.tensor, scale), cut.node, cut.note)


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


def _before_head(
    graph: Graph,
    stretches: list[Stretch],
    end: str,
    shapes: Callable[[], Shapes],
    classes: int,
) -> tuple[str, str] | None:
    """Return the tensor that the head reads and why it is one, if there is a head."""
    last = stretches[-1]
    single, behind = (stretches, ()) if last.end else (stretches[:-1], last.nodes)
    head = _Head("")
    weights = graph.linear(last.nodes)  # behind the last gate, each output has a head of its own
    if last.end or end in graph.outputs or not weights:
        head = _head(graph, single, any(node.op_type in _SCORES for node in behind))
    why = _classifier(head, end, classes)
    if not why or head.is_map:
        deepest = _deepest(graph, single, behind, shapes)
        if deepest:
            return deepest, "the deepest map before maps are enlarged again, as for boxes or masks"
    if why:
        return head.source, why
    if head.normalised:  # a softmax or sigmoid of something unusual
        before = [stretch.start for stretch in single if graph.linear(stretch.nodes)]
        if before and before[-1] in graph.maker:
            return before[-1], "before the last step with weights, because scores end the graph"
    branches = len(weights) > 1 and "Concat" in last.kinds
    boxes = last.kinds & _BOXES or (branches and last.kinds & {"Reshape", "Flatten"})
    if last.end and boxes and last.start in graph.maker:
        return last.start, "the last tensor that all branches of its detector need"
    return None


def _head(graph: Graph, stretches: list[Stretch], normalised: bool) -> _Head:
    """Return the last linear step; one without a source if there is none near the end."""
    passed: set[str] = set()
    for stretch in reversed(stretches):
        linear = graph.linear(stretch.nodes)
        if len(linear) == 1 and stretch.start in graph.maker:
            return _described(graph, linear[0], stretch.start, passed, normalised)
        if linear or not (normalised or stretch.kinds <= _SHAPING):
            break
        passed |= stretch.kinds
        normalised |= passed >= _SOFTMAX_STEPS
        normalised |= len(stretch.nodes) == 1 and bool(stretch.kinds & _SCORES)
    return _Head("", passed=passed, normalised=normalised)


def _described(
    graph: Graph, node: NodeProto, source: str, passed: set[str], normalised: bool
) -> _Head:
    dims = graph.weight_dims(node)
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "MatMulNBits":
        return _Head(source, attributes["N"], attributes["K"], False, False, passed, normalised)
    if "Conv" in node.op_type:
        scores, width = [*dims, 0, 0][:2]
        is_point = dims[2:] == [1, 1]
        return _Head(source, scores, width, True, is_point, passed, normalised)
    first, last = [*dims, 0, 0][:2] if len(dims) <= 2 else dims[-2:]
    if attributes.get("transB"):
        first, last = last, first
    return _Head(source, last, first, False, False, passed, normalised)


def _classifier(head: _Head, end: str, classes: int) -> str:
    """Say why a linear step is a classifier; nothing if it is none."""
    if not head.source:
        return ""
    scores = f"{head.scores:,}" if head.scores else "some"
    if head.normalised:
        return f"which goes into its classifier of {scores} classes"
    if head.scores in IMAGENET_CLASSES:
        return f"which goes into its classifier of {scores} classes, as many as ImageNet has"
    if classes and head.scores == classes:
        return f"which goes into its classifier of {scores} classes, whose names the file has"
    if head.is_point and not head.passed & {*_POOLING, "Relu"}:
        return f"which goes into maps of {scores} predictions"
    if head.passed <= {*_PLAIN, *_POOLING}:
        if _NAMES.search(end):
            return f"which goes into a classifier of {scores} classes, by the output's name"
        if 0 < head.scores < min(_FEW, head.width):
            return f"which goes into a last step of {scores} values, too few for features"
    return ""


def _deepest(
    graph: Graph,
    single: list[Stretch],
    behind: Sequence[NodeProto],
    shapes: Callable[[], Shapes],
) -> str:
    """Return the deepest map of a network that enlarges maps again; empty for any other."""
    nodes = [node for stretch in single for node in stretch.nodes] + list(behind)
    enlarging = [
        node
        for node in nodes
        if node.op_type in _ENLARGING and len(graph.linear(graph.needed(node.input[0]))) > 1
    ]
    if not enlarging:
        return ""
    later = nodes[nodes.index(enlarging[-1]) :]
    if not behind and any(node.op_type in ("GlobalAveragePool", "Gemm") for node in later):
        return ""  # maps of several sizes are joined into one vector
    sizes = {layer.name: layer for layer in shapes().layers if len(layer.shape) == 3}
    source = enlarging[0].input[0]
    gates = [stretch.end for stretch in graph.stretches(source) if stretch.end in sizes]
    if not gates:
        return source if source in graph.maker else ""
    channels = {gate: sizes[gate].dim("avg") for gate in gates}
    areas = {gate: math.prod(sizes[gate].shape) // channels[gate] for gate in gates}
    smallest = [gate for gate in gates if areas[gate] == min(areas.values())]
    return max(reversed(smallest), key=channels.__getitem__)


def check_operators(nodes: Sequence[Any]) -> None:
    """Refuse operators that onnxruntime does not have, and loops, which may never end."""
    import onnx

    every = list(walk(nodes))
    foreign = {f"{node.domain}.{node.op_type}" for node in every if node.domain not in DOMAINS}
    own = {node.op_type for node in every if node.domain in ("", "ai.onnx")}
    foreign |= {kind for kind in own if not onnx.defs.has(kind)}  # a converter left them
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
