"""Static 8-bit quantisation of a backbone, calibrated on images, alike on every x86 processor.

Weights and activations become 8-bit integers between pairs of QuantizeLinear and DequantizeLinear,
which onnxruntime fuses into integer kernels. On x86 without VNNI those add two products in 16 bits
and saturate where weights use all 8 bits; with 7 bits they cannot, so a file gives the same
features with and without VNNI. Depthwise convolutions have kernels of their own, which do not
saturate, and keep 8 bits. Convolutions of the image itself, to which features can be most
sensitive, stay in float where that shows in the features. What the rounding of weights adds to a
layer on average is taken off its bias (Nagel, van Baalen, Blankevoort and Welling, *Data-Free
Quantization Through Weight Equalization and Bias Correction*, ICCV 2019, section 4.2, with the
inputs' means measured).
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BackboneError, one_line
from pipeline.runner import INPUT, OUTPUT, open_session

VERSION = 2  # of the recipe; part of the identity of what it makes
_DENSE, _DEPTHWISE = 63, 127  # largest weight of a channel
_WORTH = 1e-3  # of mean cosine, for which the convolutions of the image stay in float


def quantise(model: Path, images: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - ModelProto
    """Return the graph of an exported backbone in 8-bit integers; it carries no metadata.

    Args:
        model: a file that `pipeline.export` wrote.
        images: ``(n, h, w, 3)`` to calibrate on, as decoded for this backbone.

    Raises:
        BackboneError: the graph cannot be quantised.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # the quantiser warns through the root logger
    try:
        with tempfile.TemporaryDirectory(prefix="headstart-int8-") as folder:
            plain = Path(folder) / "plain.onnx"
            quant_pre_process(model, plain, skip_symbolic_shape=True)
            whole, spared = (_in_integers(plain, images, spare=spare) for spare in (False, True))
            gained = _mean_cosine(plain, spared, images) - _mean_cosine(plain, whole, images)
            quantised = spared if gained > _WORTH else whole
    except Exception as error:  # the quantiser and its parts raise nearly anything
        raise BackboneError(
            f"{one_line(model)} cannot be quantised to int8: {one_line(error)[:200]}"
        ) from error
    finally:
        logger.setLevel(before)
    del quantised.metadata_props[:]
    # The quantiser announces operators that it did not use, which keeps a head from being joined.
    domains = {node.domain for node in quantised.graph.node}
    used = [entry for entry in quantised.opset_import if entry.domain in domains]
    del quantised.opset_import[:]
    quantised.opset_import.extend(used)
    return quantised


def _in_integers(plain: Path, images: NDArray[np.uint8], *, spare: bool) -> Any:  # noqa: ANN401
    """Return a graph in integers, convolutions of the image in float if they are to be spared."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph, folder = onnx.load(plain), plain.parent
    rounded, made = folder / "rounded.onnx", folder / "int8.onnx"
    convolutions = _convolutions(graph)
    in_float = _name_those_in_float(graph, convolutions) if spare else []
    convolutions = [node for node in convolutions if node.name not in in_float]
    means = _input_means(graph, convolutions, images, folder)
    overrides: dict[str, list[dict[str, Any]]] = {}
    for convolution in convolutions:
        overrides |= _round_weights(graph, convolution, means, QuantType.QInt8)
    _drop_unused(graph)
    onnx.save(graph, rounded)
    quantize_static(
        rounded,
        made,
        _reader(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=in_float,
        extra_options={"TensorQuantOverrides": overrides, "MatMulConstBOnly": True},
    )
    return onnx.load(made)


def _mean_cosine(plain: Path, graph: Any, images: NDArray[np.uint8]) -> float:  # noqa: ANN401
    """Return the mean cosine of a graph's features of images to those of the graph in float."""
    import onnx

    path = plain.with_name("tried.onnx")
    onnx.save(graph, path)
    wanted, found = (
        np.concatenate([session.run([OUTPUT], {INPUT: image[np.newaxis]})[0] for image in images])
        for session in map(open_session, (plain, path))
    )
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return float(((wanted * found).sum(axis=1) / np.maximum(lengths, 1e-30)).mean())


def _drop_unused(graph: Any) -> None:  # noqa: ANN401
    """Remove constants that no node reads any more, which onnxruntime would complain about."""
    used = {name for node in graph.graph.node for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)


def _reader(images: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - CalibrationDataReader
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self._images, None)
            return None if image is None else {INPUT: image[np.newaxis]}

    return Reader()


def _convolutions(graph: Any) -> list[Any]:  # noqa: ANN401
    """Return the nodes that convolve with constant weights which no other node uses."""
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


def _name_those_in_float(graph: Any, convolutions: list[Any]) -> list[str]:  # noqa: ANN401
    """Name the convolutions of the image and the clipping behind them, and return these names.

    Clipping that is left in integers behind a convolution in float would have its range from before
    the clipping, which is too wide.
    """
    shapes = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    of_image = [n for n in convolutions if shapes[n.input[1]][1] == 3 and _groups(n) == 1]
    outputs = {node.output[0] for node in of_image}
    behind = [
        node
        for node in graph.graph.node
        if node.op_type in ("Clip", "Relu") and node.input[0] in outputs
    ]
    for number, node in enumerate([*of_image, *behind]):
        node.name = f"headstart_float_{number}"
    return [node.name for node in [*of_image, *behind]]


def _groups(convolution: Any) -> int:  # noqa: ANN401
    return next((a.i for a in convolution.attribute if a.name == "group"), 1)


def _input_means(
    graph: Any,  # noqa: ANN401
    convolutions: list[Any],
    images: NDArray[np.uint8],
    folder: Path,
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of every channel that goes into a convolution, by the tensor's name."""
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
        found = session.run(outputs, {INPUT: image[np.newaxis]})
        total = [a + b for a, b in zip(total, found, strict=True)]
    return {name: value / len(images) for name, value in zip(names, total, strict=True)}


def _round_weights(
    graph: Any,  # noqa: ANN401
    node: Any,  # noqa: ANN401
    means: dict[str, NDArray[np.float64]],
    kind: Any,  # noqa: ANN401 - QuantType
) -> dict[str, list[dict[str, Any]]]:
    """Fix the scale of each channel's weights and correct the bias for what rounding adds."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    weights = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
    group = _groups(node)
    largest = _DEPTHWISE if group > 1 and weights.shape[1] == 1 else _DENSE
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
