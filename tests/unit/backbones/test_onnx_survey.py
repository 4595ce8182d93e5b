"""What a foreign file says of itself, and what to try first."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import Maker
from headstart.core.errors import BackboneError
from headstart.workflows.backbones import describe_file
from onnx import TensorProto, numpy_helper

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
    made = Maker(["n", 3, 32, 32], 13)
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
