"""The graph in 8-bit integers: which weights get how many bits, and what stays in float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from headstart.backbones.inference import quantization
from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.backbones.inference.runner import open_session
from headstart.core.errors import BackboneError
from onnx import TensorProto, helper, numpy_helper

SIZE = 16


@pytest.fixture(scope="module")
def photos():
    return np.random.default_rng(1).integers(0, 256, (24, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Write a stem with clipping, a depthwise and a dense convolution; nodes have no names."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(255),
        "stem": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "low": np.float32(0),
        "high": np.float32(1),
        "depthwise": rng.normal(0, 0.3, (8, 1, 3, 3)),
        "dense": rng.normal(0, 0.3, (12, 8, 1, 1)),
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "scale"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "stem"], ["first"]),
        helper.make_node("Clip", ["first", "low", "high"], ["clipped"]),
        helper.make_node("Conv", ["clipped", "depthwise"], ["second"], group=8),
        helper.make_node("Relu", ["second"], ["active"]),
        helper.make_node("Conv", ["active", "dense"], ["third"]),
        helper.make_node("GlobalAveragePool", ["third"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 12])],
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    path = tmp_path_factory.mktemp("int8") / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="module", params=["whole", "spared"])
def made(network, photos, request):
    """Give the graph in integers; whether the image's layer is spared hangs on what that brings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "_WORTH", {"whole": 2.0, "spared": -2.0}[request.param])
        return quantization.quantise(network, photos)


def is_spared(graph) -> bool:
    return operands(graph, "Conv")[0][1] == "constant"


def operands(graph, kind: str) -> list[list[str]]:
    """Return what makes each input of the nodes of a kind: an operator, or ``constant``."""
    made_by = {name: node.op_type for node in graph.graph.node for name in node.output}
    return [
        [made_by.get(name, "constant") for name in node.input]
        for node in graph.graph.node
        if node.op_type == kind
    ]


def test_features_are_close_to_those_in_float(network, made, photos, tmp_path):
    onnx.save(made, tmp_path / "int8.onnx")
    theirs, ours = (
        open_session(path).run([OUTPUT], {INPUT: photos})[0].astype(np.float64)
        for path in (network, tmp_path / "int8.onnx")
    )
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours, axis=1)
    assert ((theirs * ours).sum(axis=1) / lengths).min() > 0.999
    assert not np.array_equal(theirs, ours)


def test_what_reads_the_image_stays_in_float_with_its_clipping(made, request):
    first, *others = operands(made, "Conv")
    assert is_spared(made) == ("spared" in request.node.name)
    assert first[:2] == (["Div", "constant"] if is_spared(made) else ["DequantizeLinear"] * 2)
    assert [one[:2] for one in others] == [["DequantizeLinear"] * 2] * 2
    if is_spared(made):  # in integers the range of what follows does the clipping
        assert operands(made, "Clip")[0][0] == "Conv"


@pytest.mark.slow
def test_it_stays_in_float_where_that_shows(network, photos, tmp_path):
    """On plain images the stem's large weights cancel out, and rounding loses the small ones."""
    plain = np.broadcast_to(photos[:, :1, :1], photos.shape)
    assert not is_spared(quantization.quantise(network, photos))
    graph = onnx.load(network)
    (stem,) = [tensor for tensor in graph.graph.initializer if tensor.name == "stem"]
    weights = numpy_helper.to_array(stem).copy() / 10
    weights[:, 0, 0, 0], weights[:, 0, 0, 1] = 9, -9
    stem.CopyFrom(numpy_helper.from_array(weights, "stem"))
    onnx.save(graph, tmp_path / "sensitive.onnx")
    assert is_spared(quantization.quantise(tmp_path / "sensitive.onnx", plain))


def test_dense_layers_have_seven_bits_and_depthwise_ones_eight(made):
    largest = {
        len(array[0]): int(np.abs(array).max())
        for array in map(numpy_helper.to_array, made.graph.initializer)
        if array.dtype == np.int8 and array.ndim == 4
    }
    assert largest == {1: 127, 8: 63} | ({} if is_spared(made) else {3: 63})


def test_what_rounding_adds_is_taken_off_the_bias(network, photos):
    """The mean of a layer's output comes nearer to float's."""
    graph = onnx.load(network)
    (convolution,) = [node for node in graph.graph.node if "dense" in node.input]
    inputs = np.full(8, 0.7)
    quantization._round_weights(graph, convolution, {"active": inputs}, None)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    weights = tensors["dense"].reshape(12, 8).astype(np.float64)
    step = np.abs(weights).max(axis=1, keepdims=True) / 63
    rounded = np.round(weights / step) * step
    bias = tensors[convolution.input[2]]
    np.testing.assert_allclose(rounded @ inputs + bias, weights @ inputs, atol=1e-6)
    assert np.abs(bias).max() > 1e-4


def test_a_file_that_is_no_graph(tmp_path, photos):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(BackboneError, match=r"a\.onnx cannot be quantised to int8: "):
        quantization.quantise(tmp_path / "a.onnx", photos)
