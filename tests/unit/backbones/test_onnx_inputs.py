"""The inputs of foreign graphs: grey, whole numbers, one free side, sizes in the metadata."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from graphs import Maker
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.backbones.onnx_import import recipe
from headstart.backbones.preset_trial import TrialNetwork
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from onnx import TensorProto

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")  # exports say something

PIXELS = np.random.default_rng(4).integers(0, 256, (3, 24, 24, 3), np.uint8)


def net(channels, shape, opset=18):
    return Maker(list(shape), opset).conv(channels, 8, 3, 2).add("Relu").add("GlobalAveragePool")


def grey(images):
    return images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def network_of(kind, channels):
    """Return a network that takes images of numbers of this kind, channels last."""
    made = Maker(["n", 24, 24, channels], 18).add("Cast", to=TensorProto.FLOAT)
    made.add("Transpose", perm=[0, 3, 1, 2]).conv(channels, 8, 3, 2).add("Relu")
    model = made.add("GlobalAveragePool").model()
    model.graph.input[0].type.tensor_type.elem_type = getattr(TensorProto, kind)
    return model


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("spec", ["unit", "raw", "caffe"])
def test_grey_inputs_get_the_luma(spec, tmp_path):
    model = net(1, ("n", 1, 24, 24)).model()
    onnx.save(model, tmp_path / "net.onnx")
    path, _ = export.model_file(Choice(f"onnx:{tmp_path / 'net.onnx'}", preprocess=spec))
    values = grey(PIXELS)
    mean = 0.299 * 123.68 + 0.587 * 116.779 + 0.114 * 103.939
    values = {"unit": values / 255, "raw": values, "caffe": values - np.float32(mean)}[spec]
    session = ort.InferenceSession(model.SerializeToString())
    exact = session.run(None, {"data": values[:, None].astype(np.float32)})[0].reshape(3, -1)
    assert np.allclose(Runner(path).embed(PIXELS), exact, atol=1e-4 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "channels"), [("INT32", 3), ("INT32", 1), ("INT64", 3)])
def test_whole_numbers_are_images_as_they_are(kind, channels, tmp_path):
    model = network_of(kind, channels)
    onnx.save(model, tmp_path / "net.onnx")
    path, _ = export.model_file(f"onnx:{tmp_path / 'net.onnx'}")
    images = PIXELS if channels == 3 else np.rint(grey(PIXELS))[..., None]
    dtype = {"INT32": np.int32, "INT64": np.int64}[kind]
    session = ort.InferenceSession(model.SerializeToString())
    exact = session.run(None, {"data": images.astype(dtype)})[0].reshape(3, -1)
    assert np.allclose(Runner(path).embed(PIXELS), exact, rtol=1e-4)


def size_of(tmp_path, shape, spec="unit", **metadata):
    model = net(3, shape).model()
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "net.onnx")
    path, parity = export.model_file(Choice(f"onnx:{tmp_path / 'net.onnx'}", preprocess=spec))
    return Runner(path).backbone.preprocess.size, str(parity)


@pytest.mark.slow
def test_a_free_width_is_not_forced_square(tmp_path):
    size, notes = size_of(tmp_path, ("n", 3, 48, "w"))
    assert size == (48, 320)
    assert "PRESET:48xWIDTH" in notes
    assert size_of(tmp_path, ("n", 3, 48, "w"), "unit:48x160")[0] == (48, 160)
    assert size_of(tmp_path, ("n", 3, 96, "w"))[0] == (96, 96)
    with pytest.raises(BackboneError, match="takes 48 × any alone"):
        size_of(tmp_path, ("n", 3, 48, "w"), "unit:64x160")


@pytest.mark.slow
def test_the_size_in_the_metadata_counts_where_the_input_is_open(tmp_path):
    size, notes = size_of(tmp_path, ("n", 3, "h", "w"), imgsz="[64, 96]", license="AGPL-3.0")
    assert size == (64, 96)
    assert "AGPL-3.0" in notes
    assert size_of(tmp_path, ("n", 3, 48, "w"), imgsz="[48, 192]")[0] == (48, 192)
    assert size_of(tmp_path, ("n", 3, 48, 48), imgsz="640")[0] == (48, 48)
    assert size_of(tmp_path, ("n", 3, "h", "w"), "unit:32", imgsz="640")[0] == (32, 32)


def test_a_size_of_two_sides_is_a_word():
    assert recipe.read("caffe:48x320:RGB").size == (48, 320)
    with pytest.raises(BackboneError, match="48x320"):
        recipe.read("caffe:48x320x3")


def test_a_network_of_one_size_does_not_show_images_whole(tmp_path):
    onnx.save(net(3, ("n", 3, 24, 24)).model(), tmp_path / "fixed.onnx")
    with pytest.raises(BackboneError, match="24 × 24 only, so --fit whole cannot"):
        export.model_file(Choice(f"onnx:{tmp_path / 'fixed.onnx'}", fit="whole"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "channels"), [("FLOAT", 3), ("FLOAT", 1), ("INT32", 3)])
def test_a_trial_gives_what_each_preset_does_if_it_is_named(kind, channels, tmp_path):
    model = network_of(kind, channels)
    onnx.save(model, tmp_path / "net.onnx")
    named = functools.partial(Choice, f"onnx:{tmp_path / 'net.onnx'}")
    trial = TrialNetwork(backbones.find(named(preprocess="raw")), tmp_path)
    assert trial.takes_bytes == (kind == "INT32")
    for spec in ("raw", "raw:BGR") if trial.takes_bytes else ("raw", "caffe", "inception:BGR"):
        exported = Runner(export.model_file(named(preprocess=spec))[0]).embed(PIXELS)
        ours = trial.prepared(recipe.read(spec)).embed(PIXELS)
        assert np.allclose(ours, exported, rtol=1e-5, atol=1e-5 * np.abs(exported).max()), spec


@pytest.mark.slow
def test_a_trial_of_a_network_for_one_image_alone_is_refused(tmp_path):
    maker = net(3, (1, 3, 24, 24)).add("Reshape", np.array([8], np.int64))
    onnx.save(maker.add("Unsqueeze", np.array([0], np.int64)).model(), tmp_path / "net.onnx")
    choice = Choice(f"onnx:{tmp_path / 'net.onnx'}", preprocess="raw")
    with pytest.raises(BackboneError, match="a fixed number of images, or does not run"):
        TrialNetwork(backbones.find(choice), tmp_path)
