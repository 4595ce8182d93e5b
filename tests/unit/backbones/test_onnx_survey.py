"""What a foreign file says of itself, and what to try first."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from graphs import Maker
from headstart.cli import cli
from headstart.core.errors import BackboneError
from headstart.workflows.backbones import describe_file, list_layers
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")


def described(tmp_path, made, name="net.onnx", producer="", **metadata):
    model = made.model()
    model.producer_name = producer
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / name)
    return describe_file(f"onnx:{tmp_path / name}")


def classifier():
    made = Maker(["n", 3, 32, 32], 13).conv(3, 8, 3, 2).add("Relu").conv(8, 24, 3, 2).add("Relu")
    return made.add("GlobalAveragePool").add("Flatten", axis=1).gemm(24, 7).add("Softmax", axis=1)


def test_features_worth_trying_begin_with_the_default(tmp_path):
    document = described(tmp_path, classifier(), license="MIT", names="{0: 'a', 1: 'b'}")
    assert document["layer"] == document["layers"][0]["name"] == "flatten5"
    assert [layer["shape"] for layer in document["layers"][1:]] == [[24, 8, 8], [8, 16, 16]]
    assert (document["licence"], document["classes"]) == ("MIT", 2)


@pytest.mark.parametrize(
    ("name", "producer", "preset"),
    [
        ("net.onnx", "pytorch", "imagenet"),
        ("net.onnx", "onnx-caffe2", "caffe"),
        ("yolov8n.onnx", "pytorch", "unit"),
        ("mobilenet.onnx", "tf2onnx", "inception"),
    ],
)
def test_a_preset_is_proposed_with_a_reason(tmp_path, name, producer, preset):
    document = described(tmp_path, classifier(), name, producer)
    assert document["preprocess"] == preset
    assert "in its names" in document["reasons"][0]


def test_a_network_that_normalises_by_itself_gets_raw_pixels(tmp_path):
    made = Maker(["n", 3, "h", "w"], 13)
    made.constants.append(numpy_helper.from_array(np.float32(127.5), "half"))
    made.nodes.append(onnx.helper.make_node("Sub", ["data", "half"], ["centred"]))
    made.last = "centred"
    document = described(tmp_path, made.conv(3, 8, 3, 2).add("Relu"), imgsz="64")
    assert document["preprocess"] == "raw:64x64"
    assert "Sub" in document["reasons"][0]
    made.constants[0].CopyFrom(numpy_helper.from_array(np.float32(0.485), "half"))
    assert described(tmp_path, made)["preprocess"] == "unit"
    whole = Maker(["n", 3, 32, 32], 13).add("Cast", to=TensorProto.FLOAT).conv(3, 8).model()
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(whole, tmp_path / "whole.onnx")
    assert describe_file(f"onnx:{tmp_path / 'whole.onnx'}")["preprocess"] == "raw"
    with pytest.raises(BackboneError, match="no ONNX file"):
        describe_file(f"onnx:{tmp_path / 'gone.onnx'}")


def test_what_takes_no_images_is_refused_in_one_line(tmp_path):
    sound = Maker(["n", 3, 16000], 13).add("Relu").model()
    onnx.save(sound, tmp_path / "sound.onnx")
    several = Maker(["n", "samples"], 13).add("Relu").model()
    several.graph.input.append(helper.make_tensor_value_info("state", 1, [2, "n", 128]))
    onnx.save(several, tmp_path / "several.onnx")
    for name, said in (
        ("sound", "takes data .n, 3, 16000."),
        ("several", "takes data .n, samples., state .2"),
    ):
        for ask in (describe_file, list_layers):
            with pytest.raises(BackboneError, match=f"{said}.*no network of images") as caught:
                ask(f"onnx:{tmp_path / name}.onnx")
            assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("sides", "metadata", "preset"),
    [
        ((32, 32), {"imgsz": "[64, 64]"}, "unit"),  # which the file cannot take
        (("h", "w"), {"imgsz": "[64, 96]"}, "unit:64x96"),
        (("h", "w"), {"character": "0\n90\n180\n270"}, "unit"),  # classes, as of a direction
        (("h", "w"), {"character": "a\nb\nc\n "}, "unit:48x320"),
        ((48, "w"), {"character": "a\nb\nc\n "}, "unit:48x320"),
    ],
)
def test_a_size_is_proposed_only_if_the_file_takes_it(tmp_path, sides, metadata, preset):
    made = Maker(["n", 3, *sides], 13).conv(3, 8, 3, 2).add("Relu").conv(8, 24, 3, 2).add("Relu")
    document = described(tmp_path, made, author="Ultralytics", **metadata)
    assert document["preprocess"] == preset  # by the author, which is a value of the metadata
    height, width = (int(side) for side in [*preset.split(":"), "0x0"][1].split("x"))
    if height:  # shapes are those of the proposal
        assert document["layers"][0]["shape"] == [24, height // 4, width // 4]


def test_arithmetic_of_a_quantised_layer_is_no_normalisation(tmp_path):
    made = Maker(["n", 3, 32, 32], 13)
    made.nodes.append(helper.make_node("ReduceMax", ["data"], ["range"], keepdims=0))
    made.nodes.append(helper.make_node("Div", ["data", "range"], ["scaled"]))
    made.last = "scaled"
    document = described(tmp_path, made.conv(3, 8, 3, 2).add("Relu"), producer="pytorch")
    assert document["preprocess"] == "imagenet"
    made = Maker(["n", 3, 32, 32], 13)
    outputs = ["whole", "scale", "zero"]
    made.nodes.append(helper.make_node("DynamicQuantizeLinear", ["data"], outputs))
    made.constants.append(numpy_helper.from_array(np.float32(0.1), "step"))
    made.nodes.append(helper.make_node("Mul", ["scale", "step"], ["steps"]))
    made.constants.append(numpy_helper.from_array(np.ones((8, 3, 3, 3), np.int8), "w"))
    made.nodes.append(helper.make_node("ConvInteger", ["whole", "w", "zero"], ["sums"]))
    made.last = "sums"
    made.add("Cast", to=1)
    made.nodes.append(helper.make_node("Mul", [made.last, "steps"], ["maps"]))
    made.last = "maps"
    document = described(tmp_path, made, producer="pytorch")
    assert document["preprocess"] == "imagenet"


def test_maps_that_are_only_padded_are_listed_once(tmp_path):
    made = Maker(["n", 3, 32, 32], 13).conv(3, 8, 3, 2).add("Relu")
    maps = made.last
    made.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1])).conv(8, 24, 3, 2).add("Relu")
    listed = [layer["name"] for layer in described(tmp_path, made)["layers"]]
    assert listed == [made.last, maps]


def test_a_default_of_unknown_shape_is_in_the_table(tmp_path):
    made = classifier()
    shape = helper.make_node("Unsqueeze", ["flatten5"], ["unknown"], domain="com.microsoft")
    made.nodes[-2].input[0] = "unknown"
    made.nodes.insert(-2, shape)
    model = made.model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "net.onnx")
    result = CliRunner().invoke(cli, ["backbones", str(tmp_path / "net.onnx")])
    assert re.search(r"unknown +unknown +default", result.output), result.output
    assert "--preprocess auto" in result.output
