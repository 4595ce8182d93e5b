"""Several layers from the graph to the classifier: embed, prove, compare, bundle, predict."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from headstart.backbones import export
from headstart.backbones.inference import parity as certificate
from headstart.backbones.inference.description import METADATA, OUTPUT, output_names
from headstart.backbones.inference.precision import variant
from headstart.backbones.inference.runner import Runner
from headstart.backbones.inference.single_layer import one_layer
from headstart.cli import cli
from headstart.core.errors import BackboneError, StoreError
from headstart.core.records import Backbone, Part
from headstart.features import store
from headstart.features.embed import EmbedConfig, Hooks, embed
from onnx import TensorProto, helper, numpy_helper

PARTS = (Part("active/1", "avg", 12), Part("deep", "avg", 5))


@pytest.fixture(scope="module")
def several(tiny_backbone, tmp_path_factory) -> Path:
    """The tiny backbone with its own layer and one behind it as outputs."""
    model = onnx.load(tiny_backbone)
    described = Runner(tiny_backbone)
    backbone = described.backbone.with_layers(PARTS)
    kernel = np.random.default_rng(5).normal(0, 0.3, (5, 12, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(kernel, "deep_kernel"))
    names = output_names(backbone)
    model.graph.node.extend(
        [
            helper.make_node("Identity", [OUTPUT], [names[0]]),
            helper.make_node("Conv", ["active", "deep_kernel"], ["deep_maps"]),
            helper.make_node("ReduceMean", ["deep_maps", "axes"], [names[1]], keepdims=0),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    del model.graph.output[:]
    for name, part in zip(names, PARTS, strict=True):
        shape = ["n", part.dim]
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    path = tmp_path_factory.mktemp("several") / "several.onnx"
    named = {METADATA: json.dumps(backbone.to_json())}
    helper.set_model_props(model, named)
    onnx.save(model, path)
    proof = certificate.issue(Runner(path).embed, backbone.preprocess, backbone.widths)
    helper.set_model_props(model, named | {certificate.METADATA: proof.to_json()})
    onnx.save(model, path)
    return path


def made(data: Path, out: Path, backbone: Path, hooks: Hooks | None = None, **how):
    return embed(str(data), out, EmbedConfig(str(backbone), **how), hooks)


def headstart(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def holds_the_deep_layer(path: Path) -> bool:
    return any(list(one.dims) == [5, 12, 3, 3] for one in onnx.load(path).graph.initializer)


@pytest.mark.slow
def test_one_inference_gives_every_layer(several, tiny_backbone, image_folder, tmp_path):
    data = image_folder()
    made(data, tmp_path / "both.h5", several)
    made(data, tmp_path / "one.h5", tiny_backbone)
    assert store.verify(tmp_path / "both.h5") == []
    first, second = store.read_layers(tmp_path / "both.h5")
    one = store.read(tmp_path / "one.h5")
    assert np.array_equal(first.features, one.features)
    assert (first.path, first.label.tolist()) == (one.path, one.label.tolist())
    assert second.features.shape == (24, 5)
    headstart("verify", tmp_path / "both.h5")


@pytest.mark.slow
def test_an_interrupted_run_ends_in_the_same_file(several, image_folder, tmp_path):
    data = image_folder(per_class=12)

    def interrupt(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(data, tmp_path / "cut.h5", several, Hooks(progress=interrupt), workers=1)
    assert 0 < made(data, tmp_path / "cut.h5", several).embedded < 48
    made(data, tmp_path / "whole.h5", several)
    for cut, whole in zip(
        store.read_layers(tmp_path / "cut.h5"),
        store.read_layers(tmp_path / "whole.h5"),
        strict=True,
    ):
        assert np.array_equal(cut.features, whole.features)
        assert cut.path == whole.path
    assert made(data, tmp_path / "cut.h5", several).changed is False


@pytest.mark.slow
def test_another_backbone_is_refused(several, tiny_backbone, image_folder, tmp_path):
    data = image_folder()
    made(data, tmp_path / "s.h5", several)
    with pytest.raises(StoreError, match="layer: active/1, deep there, conv now"):
        made(data, tmp_path / "s.h5", tiny_backbone)


@pytest.mark.parametrize("layer", [0, 1])
def test_each_layer_is_proved(several, layer):
    """The one with small features as well, which one cosine over all would not show."""
    runner = Runner(several)
    document = json.loads(runner.metadata[certificate.METADATA])
    features = np.frombuffer(base64.b64decode(document["features"]), "<f4").reshape(-1, 17).copy()
    features[:, 12:] *= 1e-4  # hardly anything beside the other layer
    proof = certificate.Certificate.from_json(runner.metadata[certificate.METADATA])
    small = certificate.Certificate(proof.probes, features, proof.widths)

    def embedded(crops, wrong=False):
        rows = runner.embed(crops).copy()
        rows[:, 12:] *= 1e-4
        if wrong:
            at = slice(12, 17) if layer else slice(0, 12)
            rows[:, at] = rows[:, at][:, ::-1]
        return rows

    certificate.check(small, embedded, runner.backbone.preprocess)
    with pytest.raises(BackboneError, match="differ from the exporter's"):
        certificate.check(small, lambda c: embedded(c, wrong=True), runner.backbone.preprocess)


@pytest.mark.parametrize("widths", [[12, 4], [17, 0], [20, -3], ["x"], 5])
def test_a_certificate_of_other_layers_is_damaged(several, widths):
    text = Runner(several).metadata[certificate.METADATA]
    with pytest.raises(BackboneError, match="certificate is damaged"):
        certificate.Certificate.from_json(json.dumps(json.loads(text) | {"widths": widths}))


def test_one_layer_is_cut_out_with_its_proof(several, tiny_backbone):
    runner = Runner(several)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    rows = runner.embed(images)
    first, second = (one_layer(several, number) for number in (0, 1))
    assert np.allclose(Runner(first).embed(images), rows[:, :12], atol=1e-6)
    assert np.allclose(Runner(second).embed(images), rows[:, 12:], atol=1e-6)
    assert not holds_the_deep_layer(first)
    assert holds_the_deep_layer(second)
    assert Runner(first).backbone == runner.backbone.split_layers()[0]
    assert Runner(first).backbone.parts == ()
    for path in (first, second):
        cut = Runner(path)
        certificate.check_metadata(cut.metadata, cut.embed, cut.backbone.preprocess)
    for at, path in enumerate((first, second)):
        facts = runner.backbone.split_layers()[at].to_json()
        assert export.locate(json.loads(json.dumps(facts)), str(several)) == path
    assert export.locate(json.loads(json.dumps(runner.backbone.to_json())), str(several)) == several


def test_half_precision_keeps_the_layers(several):
    half = Runner(variant(several, "fp16"))
    assert half.backbone.parts == PARTS
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    rows = half.embed(images)
    assert rows.shape == (3, 17)
    assert np.allclose(rows, Runner(several).embed(images), atol=1e-2)


@pytest.mark.slow
def test_heads_on_every_layer_and_a_model_of_the_best(several, image_folder, tmp_path):
    data = image_folder(per_class=12)
    headstart("features", data, "--backbone", several, "--out", tmp_path / "s.h5")
    train = ["train-heads", tmp_path / "s.h5", "--heads", "logistic-regression,knn"]
    train += ["--repeats", 1]
    headstart(*train, "--folds", 2, "--out", tmp_path / "all")
    results = json.loads((tmp_path / "all" / "results.json").read_text())
    assert [one["document"]["backbone"]["layer"] for one in results["backbones"]] == [
        "active/1",
        "deep",
    ]
    assert len(results["heads"]) == 4
    headstart(*train, "--folds", 2, "--layer", "active/1", "--out", tmp_path / "one")
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    assert [one["dim"] for one in results["backbones"]] == [12]
    model = tmp_path / "one" / "model.onnx"
    assert not holds_the_deep_layer(model)
    assert Runner(model).backbone.layer == "active/1"
    rows = headstart("predict", model, data / "test" / "bark")
    assert rows.count("bark") >= 12
    headstart(*train, "--layer", "actve/1", "--out", tmp_path / "none", code=1)
    assert not (tmp_path / "none").exists()


def test_a_layer_given_twice_is_refused(several, tmp_path):
    done = CliRunner().invoke(
        cli, ["export", "torchvision:resnet18", "--layer", "a", "--layer", "a", "--out", "x.onnx"]
    )
    assert "layer a is repeated" in str(done.exception)


@pytest.mark.slow
def test_a_damaged_layer_is_repaired(several, image_folder, tmp_path):
    data = image_folder()
    made(data, tmp_path / "s.h5", several)
    want = [one.features for one in store.read_layers(tmp_path / "s.h5")]
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["features/deep"][3] = np.nan
    headstart("verify", "--repair", tmp_path / "s.h5")
    assert made(data, tmp_path / "s.h5", several).embedded == 1
    got = [one.features for one in store.read_layers(tmp_path / "s.h5")]
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.slow
def test_a_torch_network_of_several_layers_is_exported(tiny_backbone, tmp_path):
    import torch

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 4, 5, stride=3)
            self.second = torch.nn.Conv2d(4, 6, 3)

        def forward(self, image):
            maps = self.first(image)
            return maps.mean((2, 3)), self.second(maps).amax((2, 3))

    torch.manual_seed(0)
    one = Runner(tiny_backbone).backbone
    backbone = one.with_layers((Part("first", "avg", 4), Part("second", "max", 6)))
    assert isinstance(backbone, Backbone)
    parity = export.export(Two().eval(), backbone, tmp_path / "two.onnx")
    runner = Runner(tmp_path / "two.onnx")
    assert parity.min_cosine > 0.9999
    assert runner.backbone == backbone
    assert runner.embed(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 10)
    proof = certificate.Certificate.from_json(runner.metadata[certificate.METADATA])
    assert proof.widths == (4, 6)


@pytest.mark.slow
def test_one_layer_is_streamed_and_exported(several, image_folder, tmp_path):
    data, path = image_folder(), tmp_path / "both.h5"
    made(data, path, several)
    for part, whole in zip(PARTS, store.read_layers(path), strict=True):
        assert store.read_size(path, part.layer) == whole.features.shape
        blocks = store.read_blocks(path, part.layer)
        assert np.array_equal(np.concatenate([b.features for b in blocks]), whole.features)
        out = tmp_path / f"{part.dim}.npy"
        headstart("export-features", path, "--to", "npy", "--layer", part.layer, "--out", out)
        assert np.array_equal(np.load(out), whole.features)
    for call in (store.read_size, lambda path: next(store.read_blocks(path))):
        with pytest.raises(StoreError, match="holds several layers; choose one of: active/1, deep"):
            call(path)
    with pytest.raises(StoreError, match="holds no layer 'dep'; did you mean deep"):
        store.read_size(path, "dep")
