"""Quantise a backbone to 8-bit integers, calibrated on images, alike on every x86 processor.

onnxruntime fuses pairs of QuantizeLinear and DequantizeLinear into integer kernels. On x86 without
VNNI these add two products in 16 bits, which saturates with 8-bit weights, so dense weights use
7 bits. Depthwise kernels do not saturate and keep 8. Convolutions of the image itself stay in float
where that shows in the features. Biases are corrected for what rounding adds on average, with
measured input means (Nagel, van Baalen, Blankevoort and Welling, *Data-Free Quantization Through
Weight Equalization and Bias Correction*, ICCV 2019, section 4.2).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.backbones.inference.runner import open_session
from headstart.core.errors import BackboneError, one_line
from headstart.core.linalg import row_cosine
from headstart.core.onnx_format import ModelProto, NodeProto, exact_nodes
from headstart.core.parallel import available_cores

VERSION = 2  # of the recipe; part of the identity of an int8 file
EIGHT_BITS = 127
LARGEST = (63, EIGHT_BITS)  # a channel's weight, in dense and in depthwise convolutions
Means = dict[str, NDArray[np.float64]]  # of each input channel, by the tensor's name

_WORTH = 1e-3  # gain in mean cosine that keeps the image's convolutions in float


def quantise(model: Path, images: Sequence[NDArray[np.uint8]]) -> ModelProto:
    """Return the graph of an exported backbone in 8-bit integers, without metadata.

    ``images`` are ``(h, w, 3)`` crops to calibrate on, as decoded for this backbone.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # the quantiser warns through the root logger
    try:
        with tempfile.TemporaryDirectory(prefix="headstart-int8-") as folder:
            plain = Path(folder) / "plain.onnx"
            quant_pre_process(model, plain, skip_symbolic_shape=True)
            quantised = _better(plain, images)
    except Exception as error:  # the quantiser and its parts raise nearly anything
        raise BackboneError(
            f"{one_line(model)} cannot be quantised to int8: {one_line(error)[:200]}"
        ) from error
    finally:
        logger.setLevel(before)
    del quantised.metadata_props[:]
    # The quantiser declares operator sets that it does not use, and no head could be joined then.
    domains = {node.domain for node in quantised.graph.node}
    used = [entry for entry in quantised.opset_import if entry.domain in domains]
    del quantised.opset_import[:]
    quantised.opset_import.extend(used)
    return quantised


def in_integers(
    graph: ModelProto,
    images: Sequence[NDArray[np.uint8]],
    folder: Path,
    in_float: Sequence[str] = (),
    largest: tuple[int, int] = LARGEST,
    corrected: bool = True,
    means: Means | None = None,
) -> ModelProto:
    """Return a graph in integers; the parameters with defaults let you try other recipes.

    ``graph`` is in float, as onnxruntime's pre-processing leaves it, and is changed. ``images`` are
    ``(h, w, 3)`` each. ``in_float`` names nodes that stay in float. ``largest`` is a channel's
    largest weight, in dense and in depthwise convolutions. ``corrected`` corrects the biases.
    ``means`` are those of `_input_means`, if they are known.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    rounded, output = folder / "rounded.onnx", folder / "int8.onnx"
    convolutions = [node for node in find_convolutions(graph) if node.name not in in_float]
    means = means or _input_means(graph, convolutions, images, folder)
    if not corrected:
        means = {name: np.zeros_like(mean) for name, mean in means.items()}
    overrides: dict[str, list[dict[str, Any]]] = {}
    for convolution in convolutions:
        overrides |= _round_weights(graph, convolution, means, QuantType.QInt8, largest)
    _drop_unused(graph)
    onnx.save(graph, rounded)
    quantize_static(
        rounded,
        output,
        _reader(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=largest[0] < EIGHT_BITS,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*in_float, *exact_nodes(graph)],
        extra_options={"TensorQuantOverrides": overrides, "MatMulConstBOnly": True},
    )
    return onnx.load(output)


def _better(plain: Path, images: Sequence[NDArray[np.uint8]]) -> ModelProto:
    """Return a graph in integers, with the image's convolutions in float if that is worth it."""
    import onnx

    graph, whole = onnx.load(plain), onnx.load(plain)
    means = _input_means(whole, find_convolutions(whole), images, plain.parent)
    in_float = _name_those_in_float(graph, find_convolutions(graph))
    if not in_float:
        return in_integers(whole, images, plain.parent, means=means)

    def trial(model: ModelProto, names: Sequence[str]) -> tuple[ModelProto, NDArray[np.float32]]:
        folder = plain.parent / f"{len(names)}-in-float"
        folder.mkdir()
        quantised = in_integers(model, images, folder, names, means=means)
        return quantised, _features(quantised, images, folder)

    with ThreadPoolExecutor(min(2, available_cores())) as pool:
        trials = [pool.submit(trial, *pair) for pair in ((whole, []), (graph, in_float))]
        expected = _features(onnx.load(plain), images, plain.parent)
        (whole, before), (spared, now) = (each.result() for each in trials)
    gain = row_cosine(expected, now).mean() - row_cosine(expected, before).mean()
    return spared if gain > _WORTH else whole


def _features(
    graph: ModelProto, images: Sequence[NDArray[np.uint8]], folder: Path
) -> NDArray[np.float32]:
    """Return a graph's ``(n, d)`` features of images, embedded one by one."""
    import onnx

    path = folder / "tried.onnx"
    onnx.save(graph, path)
    session = open_session(path)
    return np.concatenate(
        [session.run([OUTPUT], {INPUT: image[np.newaxis]})[0] for image in images]
    )


def _drop_unused(graph: ModelProto) -> None:
    """Remove constants that no node reads; onnxruntime would complain about them."""
    used = {name for node in graph.graph.node for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)


def _reader(images: Sequence[NDArray[np.uint8]]) -> Any:  # noqa: ANN401 - CalibrationDataReader
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self._images, None)
            return None if image is None else {INPUT: image[np.newaxis]}

    return Reader()


def find_convolutions(graph: ModelProto) -> list[Any]:
    """Return the convolutions whose weights are constant and used by no other node."""
    constant = {tensor.name for tensor in graph.graph.initializer}
    uses: dict[str, int] = {}
    for node in graph.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    return [
        node
        for node in graph.graph.node
        if node.op_type == "Conv"
        and node.input[1] in constant
        and uses[node.input[1]] == 1
        and (len(node.input) < 3 or not node.input[2] or node.input[2] in constant)
    ]


def _name_those_in_float(graph: ModelProto, convolutions: list[Any]) -> list[str]:
    """Name the image's convolutions and the clipping behind them, and return these names."""
    shapes = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    of_image = [n for n in convolutions if shapes[n.input[1]][1] == 3 and groups_of(n) == 1]
    outputs = {node.output[0] for node in of_image}
    # Clipping left in integers would get its range from before the clipping, which is too wide.
    behind = [
        node
        for node in graph.graph.node
        if node.op_type in ("Clip", "Relu") and node.input[0] in outputs
    ]
    for number, node in enumerate([*of_image, *behind]):
        node.name = f"headstart_float_{number}"
    return [node.name for node in [*of_image, *behind]]


def groups_of(convolution: NodeProto) -> int:
    """Return the number of groups of a convolution."""
    return next((a.i for a in convolution.attribute if a.name == "group"), 1)


def _input_means(
    graph: ModelProto, convolutions: list[Any], images: Sequence[NDArray[np.uint8]], folder: Path
) -> Means:
    """Return the mean of each input channel of the convolutions, by the tensor's name."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = list(dict.fromkeys(node.input[0] for node in convolutions))
    if not names:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    probe.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3]), "headstart_axes"))
    outputs = [f"headstart_mean_{number}" for number in range(len(names))]
    for name, output in zip(names, outputs, strict=True):
        node = helper.make_node("ReduceMean", [name, "headstart_axes"], [output], keepdims=0)
        probe.graph.node.append(node)
        probe.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [None]))
    path = folder / "means.onnx"
    onnx.save(probe, path)
    session = open_session(path)
    total = [np.zeros(1)] * len(outputs)
    for image in images:
        means = session.run(outputs, {INPUT: image[np.newaxis]})
        total = [a + b for a, b in zip(total, means, strict=True)]
    return {name: value / len(images) for name, value in zip(names, total, strict=True)}


def _round_weights(
    graph: ModelProto,
    node: NodeProto,
    means: dict[str, NDArray[np.float64]],
    kind: Any,  # noqa: ANN401 - QuantType
    most: tuple[int, int] = LARGEST,
) -> dict[str, list[dict[str, Any]]]:
    """Fix the scale of each channel's weights, and correct the bias for what rounding adds."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    weights = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
    group = groups_of(node)
    largest = most[group > 1 and weights.shape[1] == 1]
    flat = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scale = np.maximum(flat / largest, 1e-12).astype(np.float32)
    steps = scale.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
    added = np.round(weights / steps) * steps - weights
    by_input = added.reshape(*added.shape[:2], -1).sum(axis=2)  # outputs × inputs of the group
    inputs = means[node.input[0]].reshape(group, -1)
    shift = (by_input * np.repeat(inputs, len(weights) // group, axis=0)).sum(axis=1)
    named = node.input[2] if len(node.input) > 2 else ""
    bias = numpy_helper.to_array(tensors[named]) if named else np.zeros(len(weights))
    own = f"{node.input[1]}_corrected_bias"
    corrected = numpy_helper.from_array((bias - shift).astype(np.float32), own)
    graph.graph.initializer.append(corrected)
    first_two = list(node.input)[:2]
    del node.input[:]
    node.input.extend([*first_two, own])
    channels: list[dict[str, Any]] = [
        {"quant_type": kind, "scale": step, "zero_point": np.int8(0)} for step in scale
    ]
    channels[0]["axis"] = 0
    return {first_two[1]: channels}
