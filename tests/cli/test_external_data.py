"""Networks whose weights are in a file beside the graph, as those beyond 2 GiB have them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from headstart.backbones import export
from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import read_metadata
from headstart.backbones.inference.precision import variant
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError
from headstart.models.classifier import Classifier

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture
def large(tiny_backbone, tmp_path, monkeypatch):
    """Give the tiny backbone as a file that is too large for one message."""
    path = tmp_path / "large.onnx"
    with monkeypatch.context() as patch:
        patch.setattr(external_data, "LIMIT", 1000)
        external_data.save(onnx.load(tiny_backbone), path)
    assert (tmp_path / "large.onnx.data").stat().st_size == 12 * 3 * 5 * 5 * 4
    return path


@pytest.fixture
def trained(large, embedded, headstart, tmp_path):
    """Give a model that was trained on the features of the large network."""
    shutil.copytree(embedded / "photos", tmp_path / "photos")
    headstart("features", "photos", "--backbone", large, "--out", "s.h5")
    words = ("--heads", "logistic-regression", "--repeats", 1)
    headstart("train-heads", "s.h5", "--out", "results", *words)
    return tmp_path / "results" / "model.onnx"


def change(path, **facts):
    model = onnx.load(path, load_external_data=False)
    metadata = read_metadata(path)
    changed = json.loads(metadata[external_data.KEY]) | facts
    onnx.helper.set_model_props(model, metadata | {external_data.KEY: json.dumps(changed)})
    onnx.save(model, path)


def test_the_features_are_the_same(large, tiny_backbone):
    assert np.array_equal(Runner(large).embed(IMAGES), Runner(tiny_backbone).embed(IMAGES))
    assert large.stat().st_size < tiny_backbone.stat().st_size - 3000


@pytest.mark.slow
def test_a_model_has_its_data_beside_it(trained, headstart, tmp_path, tiny_backbone):
    data = trained.with_name("model.onnx.data")
    assert data.read_bytes() == (tmp_path / "large.onnx.data").read_bytes()
    assert "sound" in headstart("verify", trained).stdout
    headstart("predict", trained, "photos", "--out", "p.csv")
    classifier = Classifier(trained)
    assert classifier.backbone == Runner(tiny_backbone).backbone
    assert "path,label" in (tmp_path / "p.csv").read_text()
    example = (tmp_path / "results" / "predict_example.py").read_text()
    compile(example, "predict_example.py", "exec")
    assert "model_external_initializers_file_folder_path" in example
    assert (
        "exceed 2 GiB"
        in headstart("predict", trained, "photos", "--explain", "maps", code=1).stderr
    )
    command = ("export-model", trained, "photos", "--precision", "fp16", "--out", "h.onnx")
    assert "exceed 2 GiB" in headstart(*command, code=1).stderr


def test_a_copy_has_data_of_its_own_name(large, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "other.onnx"
    external_data.copy(large, copy)
    assert (tmp_path / "elsewhere" / "other.onnx.data").is_file()
    assert np.array_equal(Runner(copy).embed(IMAGES), Runner(large).embed(IMAGES))


@pytest.mark.slow
def test_a_network_is_exported_with_its_data(tmp_path, monkeypatch):
    import torch
    from factories import backbone

    monkeypatch.setattr(external_data, "LIMIT", 1000)
    body = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 16, 5, stride=4), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
    ).eval()
    path = tmp_path / "network.onnx"
    parity = export.export(body, backbone(dim=16), path)
    assert parity.min_cosine > 0.9999
    assert export.read_parity(path) == parity
    assert (tmp_path / "network.onnx.data").stat().st_size >= 16 * 3 * 5 * 5 * 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.onnx", "network.onnx.data"]


class TestRefusals:
    def test_missing_data(self, large):
        large.with_name("large.onnx.data").unlink()
        with pytest.raises(BackboneError, match=r"needs its weights in large\.onnx\.data"):
            Runner(large)

    def test_damaged_data(self, large):
        data = large.with_name("large.onnx.data")
        content = bytearray(data.read_bytes())
        content[7] ^= 1
        data.write_bytes(content)
        with pytest.raises(BackboneError, match="damaged or belongs to another model"):
            Runner(large)

    @pytest.mark.parametrize("name", ["../large.onnx.data", "/etc/hostname", "..", ""])
    def test_data_outside_the_folder(self, large, name):
        change(large, file=name)
        with pytest.raises(BackboneError, match="from outside its folder") as caught:
            Runner(large)
        assert str(caught.value).isprintable()

    def test_a_graph_that_takes_another_file(self, large, tmp_path):
        (tmp_path / "secret").write_bytes(b"x" * 3600)
        model = onnx.load(large, load_external_data=False)
        tensor = next(t for t in model.graph.initializer if t.external_data)
        tensor.external_data[0].value = "secret"
        onnx.save(model, large)
        with pytest.raises(BackboneError, match="from outside its folder"):
            Runner(large)

    def test_a_link_to_elsewhere(self, large, tmp_path):
        data = large.with_name("large.onnx.data")
        data.rename(tmp_path / "elsewhere")
        data.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BackboneError, match="from outside its folder"):
            Runner(large)

    def test_other_precisions(self, large):
        with pytest.raises(BackboneError, match=r"--precision fp16 is not available for large"):
            variant(large, "fp16")
