"""Several views of an image in one graph: their features are averaged.

An image and its mirror image come from one array. Of ``crop+whole``, the array holds two pictures,
one above the other. The views pass the network as a batch, so its weights are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import INPUT
from headstart.core.onnx_format import EXACT, ModelProto
from headstart.core.records import Preprocess

_OWN = f"{EXACT}views."  # prefix of names; quantising leaves these nodes in float
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def views_of(arrays: NDArray[np.uint8], views: str) -> list[NDArray[np.uint8]]:
    """Return each view of ``(n, h, w, 3)`` arrays."""
    if views == "flip":
        return [arrays, arrays[:, :, ::-1]]
    half = arrays.shape[1] // 2
    return [arrays[:, :half], arrays[:, half:]]


def averaging(model: ModelProto, preprocess: Preprocess) -> ModelProto:
    """Return a backbone's graph between the splitting of ``preprocess`` and the means of features.

    ``model`` takes one view and is changed.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants: dict[str, Sequence[int]] = {"axis": [0]}
    if preprocess.views == "flip":
        slices = [("mirror", _LAST, _FIRST, 2, -1)]
    else:
        middle = preprocess.input_size[0]
        slices = [("top", 0, middle, 1, 1), ("bottom", middle, _LAST, 1, 1)]
    views = [] if len(slices) > 1 else [INPUT]
    before, after = [], []
    for name, start, stop, axis, step in slices:
        bounds = {"from": [start], "to": [stop], "axes": [axis], "steps": [step]}
        constants |= {f"{name}.{key}": value for key, value in bounds.items()}
        inputs = [INPUT, *(f"{_OWN}{name}.{key}" for key in bounds)]
        before.append(helper.make_node("Slice", inputs, [f"{_OWN}{name}"], f"{_OWN}{name}"))
        views.append(f"{_OWN}{name}")
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
        constants |= {f"shape.{output.name}": [2, -1, dim]}
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
    if preprocess.views == "crop+whole":
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = preprocess.size[0]
    return model
