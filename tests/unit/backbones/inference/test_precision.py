"""Half precision: the same description but for one word, features close enough or no file."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from headstart.backbones.inference import parity
from headstart.backbones.inference.description import METADATA
from headstart.backbones.inference.precision import variant
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError
from onnx import TensorProto, numpy_helper


@pytest.fixture
def crops():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)


def test_full_precision_is_the_file_itself(tiny_backbone):
    assert variant(tiny_backbone, "fp32") == tiny_backbone


def test_half_precision_describes_itself_and_computes_in_half(tiny_backbone, crops):
    path = variant(tiny_backbone, "fp16")
    half, full = Runner(path), Runner(tiny_backbone)
    assert half.backbone.precision == "fp16"
    assert half.metadata[parity.METADATA] == full.metadata[parity.METADATA]
    kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert TensorProto.FLOAT16 in kinds
    assert TensorProto.FLOAT not in kinds
    got, want = half.embed(crops), full.embed(crops)
    assert got.dtype == np.float32
    assert np.allclose(got, want, rtol=0.01, atol=0.01)
    assert not np.array_equal(got, want)


def test_it_is_converted_once(tiny_backbone):
    path = variant(tiny_backbone, "fp16")
    before = path.stat().st_mtime_ns
    assert variant(tiny_backbone, "fp16") == path
    assert variant(path, "fp16") == path
    assert path.stat().st_mtime_ns == before


def test_there_is_no_way_back(tiny_backbone):
    with pytest.raises(BackboneError, match="is in fp16 already; convert the fp32 file to fp32"):
        variant(variant(tiny_backbone, "fp16"), "fp32")


def test_an_unknown_precision(tiny_backbone):
    with pytest.raises(BackboneError, match=r"^no precision 'fp8'; use one of: fp32, .*auto$"):
        variant(tiny_backbone, "fp8")


def test_features_that_half_precision_cannot_hold_make_no_file(tiny_backbone, tmp_path, cache_home):
    """Weights beyond 65,504 become infinite or wrong: the certificate says so."""
    model = onnx.load(tiny_backbone)
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(np.linspace(1e5, 9e9, 12, dtype="f4"), "bias"))
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    runner = Runner(path)
    proof = parity.issue(runner.embed, runner.backbone.preprocess)
    text = json.dumps(json.loads(runner.metadata[METADATA]) | {"name": "large"})
    onnx.helper.set_model_props(model, {METADATA: text, parity.METADATA: proof.to_json()})
    onnx.save(model, path)
    with pytest.raises(BackboneError, match=r"differ from the exporter's: cosine .* allowed 0.999"):
        variant(path, "fp16")
    assert not list((cache_home / "headstart/backbones").glob("large-fp16-*"))
