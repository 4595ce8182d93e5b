"""Several views of an image in one graph: their features are averaged.

An image and its mirror image come from one picture. Of sums such as ``crop+whole``, the array holds
several, one above the other. The views pass the network as a batch, so its weights are stored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.core.onnx_format import EXACT, ModelProto, NodeProto
from headstart.core.records import Preprocess

_OWN = f"{EXACT}views."  # prefix of names; quantising leaves these nodes in float
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def views_of(arrays: NDArray[np.uint8], views: str) -> list[NDArray[np.uint8]]:
    """Return each view of ``(n, h, w, 3)`` arrays."""
    names = views.split("+")
    pictures = np.split(arrays, max(1, len(names) - ("flip" in names)), axis=1)
    return [*pictures, *([pictures[0][:, :, ::-1]] if "flip" in names else ())]


def pictures_of(views: int, pictures: int) -> list[tuple[int, bool]]:
    """Return the number of the picture that each view in a batch shows, and whether mirrored."""
    return [(view % pictures, view >= pictures) for view in range(views)]


def features_by_view(producers: Mapping[str, NodeProto]) -> str:
    """Return the tensor of the features that `averaging` averages, a row a view; else `OUTPUT`."""
    node = producers.get(OUTPUT)
    while node is not None and node.op_type in ("Cast", "Identity"):
        node = producers.get(node.input[0])
    if node is None or node.op_type != "ReduceMean" or not node.input[0].startswith(_OWN):
        return OUTPUT
    rows: str = producers[node.input[0]].input[0]
    return rows


def averaging(model: ModelProto, preprocess: Preprocess) -> ModelProto:
    """Return a backbone's graph between the splitting of ``preprocess`` and the means of features.

    ``model`` takes one view and is changed.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants: dict[str, Sequence[int]] = {"axis": [0]}
    height, pictures = preprocess.input_size[0], len(preprocess.each_view)
    parts = (
        {f"picture.{n}": [(1, n * height, (n + 1) * height, 1)] for n in range(pictures)}
        if pictures > 1
        else {}
    )
    views = [f"{_OWN}{name}" for name in parts] or [INPUT]
    if "flip" in preprocess.views.split("+"):
        parts["mirror"] = [*parts.get("picture.0", ()), (2, _LAST, _FIRST, -1)]
        views.append(f"{_OWN}mirror")
    before, after = [], []
    for name, steps in parts.items():
        bounds = dict(zip(("axes", "from", "to", "steps"), zip(*steps, strict=True), strict=True))
        constants |= {f"{name}.{key}": value for key, value in bounds.items()}
        inputs = [INPUT, *(f"{_OWN}{name}.{key}" for key in ("from", "to", "axes", "steps"))]
        before.append(helper.make_node("Slice", inputs, [f"{_OWN}{name}"], f"{_OWN}{name}"))
    batch = f"{_OWN}batch"
    before.append(helper.make_node("Concat", views, [batch], batch, axis=0))
    for node in graph.node:
        node.input[:] = [batch if name == INPUT else name for name in node.input]
    for output in graph.output:
        inner = f"{_OWN}{output.name}"
        for node in graph.node:
            node.input[:] = [inner if name == output.name else name for name in node.input]
            node.output[:] = [inner if name == output.name else name for name in node.output]
        dim = output.type.tensor_type.shape.dim[1].dim_value
        shape = f"{_OWN}shape.{output.name}"
        constants |= {f"shape.{output.name}": [len(views), -1, dim]}
        after += [
            helper.make_node("Reshape", [inner, shape], [f"{inner}.pair"], f"{inner}.pair"),
            helper.make_node(
                "ReduceMean",
                [f"{inner}.pair", f"{_OWN}axis"],
                [output.name],
                f"{inner}.mean",
                keepdims=0,
            ),
        ]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"{_OWN}{name}")
        for name, value in constants.items()
    )
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    if pictures > 1:
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = preprocess.size[0]
    return model
