"""A foreign graph as a flow from the image to its outputs: what moves, and what all of it passes.

A tensor moves if it depends on the pixels; weights do not, however many operators make them. A
gate is a tensor that all paths from the image to the outputs go through, which is a dominator of
the outputs in the graph's terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from headstart.backbones.onnx_import.load import subgraphs, walk
from headstart.core.onnx_format import ModelProto, NodeProto

WEIGHT = {  # operators that multiply by weights, and which of their inputs these are
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), 1),
    **dict.fromkeys(("FusedConv", "FusedGemm", "FusedMatMul", "MatMulNBits", "Einsum"), 1),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"), 1),
    "DynamicQuantizeMatMul": 1,
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
_SIZES = ("Shape", "Size")  # they depend on the image's size, not on its pixels
_SAME_SCALE = ("Reshape", "Flatten", "MaxPool", "Transpose", "Squeeze", "Unsqueeze", "Identity")


@dataclass(frozen=True)
class Stretch:
    """The nodes between two gates that follow each other, in the graph's order."""

    start: str
    end: str
    nodes: tuple[Any, ...]

    @property
    def kinds(self) -> set[str]:
        """The types of the operators."""
        return {node.op_type for node in self.nodes}


class Graph:
    """A graph with its nodes indexed by the tensors that they make."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self.maker = {name: node for node in self.graph.node for name in node.output if name}
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in self.graph.initializer}
        self.inputs = [tensor for tensor in self.graph.input if tensor.name not in self.constants]
        images = [tensor for tensor in self.inputs if may_be_images(tensor)]
        self.images = images if len(images) == 1 else self.inputs
        self.outputs = [tensor.name for tensor in self.graph.output]

    def constant(self, name: str) -> Any:  # noqa: ANN401 - TensorProto or None
        """Return a tensor that the file holds, or None."""
        node = self.maker.get(name)
        if node is not None and node.op_type == "Constant":
            return next(
                (attribute.t for attribute in node.attribute if attribute.name == "value"), None
            )
        return self.constants.get(name)

    def needed(self, *tensors: str) -> list[Any]:
        """Return the nodes that tensors depend on, in the graph's order."""
        reached: set[int] = set()
        waiting, seen = list(tensors), set(tensors)
        while waiting:
            node = self.maker.get(waiting.pop())
            if node is None or id(node) in reached:
                continue
            reached.add(id(node))
            fresh = set(names_read_by(node)) - seen
            seen |= fresh
            waiting += fresh
        return [node for node in self.graph.node if id(node) in reached]

    @cached_property
    def readers(self) -> dict[str, list[Any]]:
        """The nodes that read each tensor."""
        readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in set(names_read_by(node)):
                readers.setdefault(name, []).append(node)
        return readers

    @cached_property
    def moving(self) -> set[str]:
        """The names of the tensors that depend on the pixels."""
        return self._reached({tensor.name for tensor in self.images})

    @cached_property
    def mixed(self) -> set[str]:
        """The names of the tensors that depend on another input than the image."""
        images = {tensor.name for tensor in self.images}
        return self._reached({tensor.name for tensor in self.inputs} - images)

    def _reached(self, names: set[str]) -> set[str]:
        reached = set(names)
        waiting = list(reached)
        while waiting:
            for node in self.readers.get(waiting.pop(), ()):
                size = node.op_type in _SIZES
                fresh = set() if size else set(filter(None, node.output)) - reached
                reached |= fresh
                waiting += fresh
        return reached

    def moving_inputs(self, node: NodeProto) -> list[str]:
        """Return what a node reads that depends on the pixels."""
        return [name for name in dict.fromkeys(names_read_by(node)) if name in self.moving]

    def stretches(self, *tensors: str) -> list[Stretch]:
        """Divide the way from the image to tensors at its gates, in the graph's order.

        The last stretch leads to the only tensor, or to all of several. What needs another input
        than the image, such as a text, is part of it.
        """
        nodes = [n for n in self.needed(*tensors) if not self.moving.isdisjoint(n.output)]
        last = {name: number for number, n in enumerate(nodes) for name in self.moving_inputs(n)}
        last |= dict.fromkeys(tensors, len(nodes))
        start = next((t.name for t in self.images if t.name in last), "")
        live = {tensor.name for tensor in self.images if tensor.name in last}
        stretches, first = [], 0
        for number, node in enumerate(nodes):
            live |= {name for name in node.output if name in last}
            live = {name for name in live if last[name] > number}
            if len(live) == 1 and live <= set(node.output) - self.mixed:
                (end,) = live
                stretches.append(Stretch(start, end, tuple(nodes[first : number + 1])))
                start, first = end, number + 1
        if first < len(nodes):
            stretches.append(Stretch(start, "", tuple(nodes[first:])))
        return stretches

    def linear(self, nodes: Sequence[Any]) -> list[Any]:
        """Return those nodes that multiply what moves by weights that do not."""
        return [
            node
            for node in nodes
            if (place := WEIGHT.get(node.op_type)) is not None
            and len(node.input) > place
            and node.input[0] in self.moving
            and node.input[place] not in self.moving
        ]

    def weight_dims(self, node: NodeProto) -> list[int]:
        """Return the shape of a linear node's weights; empty if it is unknown."""
        name = node.input[WEIGHT[node.op_type]]
        constant = self.constant(name)
        return list(constant.dims) if constant is not None else self._inferred.get(name, [])

    @cached_property
    def _inferred(self) -> dict[str, list[int]]:
        """The shapes of what operators make of the file's constants."""
        import onnx

        part = onnx.ModelProto()
        part.CopyFrom(self.model)
        part.ir_version = max(part.ir_version, 4)  # since 4, constants need not be inputs
        fixed = [node for node in self.graph.node if self.moving.isdisjoint(node.output)]
        del part.graph.node[:], part.graph.output[:], part.graph.value_info[:]
        part.graph.node.extend(fixed)
        try:
            inferred = onnx.shape_inference.infer_shapes(part, data_prop=True)
        except Exception:  # inference has its own error types; the shapes are for messages alone
            return {}
        return {
            value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
            for value in inferred.graph.value_info
        }

    def scale_of(self, name: str) -> list[str]:
        """Return the names of scale and zero point of a quantised tensor; empty for any other."""
        node = self.maker.get(name)
        while node is not None and node.op_type in _SAME_SCALE:
            node = self.maker.get(node.input[0])
        if node is None or not (
            node.op_type.startswith("QLinear")
            or node.op_type == "QuantizeLinear"
            or (node.op_type == "QGemm" and len(node.input) > 7 and node.input[7])
        ):
            return []
        return self._scale_read_with(name)

    def dequantise(self, name: str, scale: Sequence[str]) -> str:
        """Add a node that makes floats of a quantised tensor, and return what it gives."""
        from onnx import helper

        out = f"{name}/floats"
        if out not in self.maker:
            node = helper.make_node("DequantizeLinear", [name, *scale], [out])
            self.graph.node.append(node)
            self.maker[out] = self.graph.node[-1]
        return out

    def _scale_read_with(self, name: str) -> list[str]:
        """Return what readers of a quantised tensor read behind it, as they all do."""
        for reader in self.readers.get(name, ()):
            if reader.op_type in _SAME_SCALE:
                scale = self._scale_read_with(reader.output[0])
            else:
                number = list(reader.input).index(name)
                scale = list(filter(None, reader.input[number + 1 : number + 3]))
            if scale:
                return scale
        return []


def may_be_images(value: Any) -> bool:  # noqa: ANN401 - ValueInfoProto
    """Say whether an input can be a batch of images: four sides, with three channels or one."""
    tensor = value.type.tensor_type
    sides = [side.dim_value for side in tensor.shape.dim]
    if tensor.HasField("shape") and len(sides) != 4:
        return False
    return not sides or any(side <= 0 or side in (1, 3) for side in (sides[1], sides[3]))


def names_read_by(node: NodeProto) -> Iterable[str]:
    """Yield the names that a node reads, those in its subgraphs included."""
    for inner in walk([node]):
        yield from filter(None, inner.input)
        yield from (output.name for graph in subgraphs(inner) for output in graph.output)
