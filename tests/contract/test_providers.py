"""One contract for every provider of networks, and a provider in one file from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.catalogue import Entry
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.runner import Runner
from headstart.backbones.layers import OWN, PRE_LOGITS
from headstart.backbones.network import Network
from headstart.backbones.provider import Provider
from headstart.backbones.weights import Weights, read, seeded
from headstart.core.errors import BackboneError, StoreError
from headstart.core.records import Backbone, Choice, Preprocess
from headstart.datasets.images import POLICY
from headstart.features import store
from headstart.features.embed import EmbedConfig, Hooks, embed
from headstart.features.image_embedder import ImageEmbedder

SMALL = {  # of each provider, a network that builds in a second or two
    "": "efficientnet-lite0",
    "torchvision": "torchvision:squeezenet1_1",
    "timm": "timm:mobilenetv3_small_050",
    "keras": "keras:MobileNetV3Small",
    "toy": "toy:three",
}
IN_THE_HUB = {"open_clip", "transformers"}  # tests/unit/backbones/test_hub.py has theirs


class ToyProvider(Provider):
    """A provider as a user writes it: what there is, and how it is built."""

    prefix = "toy"
    default_layer = "0.1"

    def entries(self) -> Iterator[Entry]:
        yield Entry("toy:three", "three", (16, 16), url="file:///nowhere/three.pth", file="3.pth")
        yield Entry("toy:bare", "bare", (16, 16))

    def build(self, entry: Entry, weights: Weights) -> Network:
        import torch

        with seeded(weights):
            body = torch.nn.Sequential(
                torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
            )
        if weights.path is not None:
            body.load_state_dict(read(weights.path))
        module = torch.nn.Sequential(body, torch.nn.Flatten())
        return Network(
            module=module,
            headless=lambda: module,
            preprocess=Preprocess(resize=18, crop=16),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Register the toy, for one test."""
    monkeypatch.setattr(backbones, "_PROVIDERS", dict(backbones._PROVIDERS))
    backbones.register(ToyProvider())


@pytest.fixture(params=sorted(SMALL))
def name(request) -> str:
    return SMALL[request.param]


def test_every_provider_is_tested():
    assert backbones._PROVIDERS.keys() == SMALL.keys() | IN_THE_HUB


class TestEveryProvider:
    def test_its_entries_bear_its_prefix_and_are_told_apart(self, name):
        provider = backbones.provider_of(name)
        entries = provider.list_entries()
        names = [entry.name for entry in entries]
        assert len(set(names)) == len(names) > 0
        begin = f"{provider.prefix}:" if provider.prefix else ""
        assert all(entry.name.startswith(begin) for entry in entries)
        assert all(min(entry.size) > 0 and entry.architecture for entry in entries)
        assert {entry.name for entry in entries} <= {e.name for e in backbones.available()}

    def test_its_own_layer_is_the_default(self, name):
        layer, pool = backbones.provider_of(name).own_layer
        plain = backbones.find(Choice(name, "random"))
        assert backbones.find(Choice(name, "random", PRE_LOGITS, OWN)) == plain
        if (layer, pool) == (PRE_LOGITS, OWN):
            assert (plain.layer, plain.pool) == ("", "")

    @pytest.mark.slow
    def test_without_weights_on_this_machine_the_error_says_where_to_put_them(
        self, name, tmp_path, monkeypatch
    ):
        for variable in ("TORCH_HOME", "KERAS_HOME"):
            monkeypatch.setenv(variable, str(tmp_path))
        provider = backbones.provider_of(name)
        entry = backbones.find(Choice(name, "random")).entry
        if provider.is_available(entry):  # an installed package has them
            assert provider.prefix == ""
            return
        elsewhere = dataclasses.replace(entry, url="http://127.0.0.1:9/x.pth", repo="")
        assert provider.cache_path(elsewhere).is_relative_to(tmp_path)
        with pytest.raises(BackboneError, match=r"fetch http://127.*--weights FILE") as caught:
            provider.fetch(elsewhere)
        assert str(provider.cache_path(elsewhere)) in str(caught.value)
        assert str(caught.value).isprintable()
        with pytest.raises(BackboneError, match=r"no weights of .* were published"):
            provider.fetch(dataclasses.replace(entry, url=""))

    @pytest.mark.slow
    def test_random_weights_follow_from_the_seed(self, name):
        import torch

        image = torch.zeros(1, 3, *backbones.find(Choice(name, "random")).entry.size) + 0.5
        rows = []
        for seed in (1, 1, 2):
            module, backbone = backbones.find(Choice(name, f"random:{seed}")).load()
            assert backbone.name.endswith(f"+random:{seed}")
            assert "random weights" in backbone.source
            with torch.inference_mode():
                rows.append(module(image).numpy())
        assert rows[0].shape == (1, backbone.dim)
        assert np.array_equal(rows[0], rows[1])
        assert not np.array_equal(rows[0], rows[2])

    @pytest.mark.slow
    def test_a_layer_by_name_is_described_and_asked_for_again(self, name):
        layer = next(one for one in backbones.layers_of(name).layers if len(one.shape) == 3)
        _, backbone = backbones.find(Choice(name, "random", layer.name, "max")).load()
        assert (backbone.layer, backbone.pool) == (layer.name, "max")
        assert backbone.dim == layer.dim("max")
        assert backbones.find(backbones.choice_of(backbone)).load()[1] == backbone


def take_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the networks of `ToyProvider` take images of 16 × 16 alone."""
    import torch

    whole = ToyProvider.build

    def build(self: Provider, entry: Entry, weights: Weights) -> Network:
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
        network = whole(self, entry, weights)
        return dataclasses.replace(network, module=module, headless=lambda: module)

    monkeypatch.setattr(ToyProvider, "build", build)


class TestAProviderFromOutside:
    @pytest.mark.slow
    def test_it_is_listed_exported_and_embeds(self, fresh_cache_home):
        assert [entry.name for entry in backbones.available("toy:")] == ["toy:three", "toy:bare"]
        model, parity = export.model_file(Choice("toy:three", "random"))
        assert parity is not None
        runner = Runner(model)
        images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
        assert runner.embed(images).shape == (3, 5)
        assert runner.backbone.source.endswith("(three of toy)")
        assert export.model_file(Choice("toy:three", "random")) == (model, None)

    @pytest.mark.slow
    def test_the_file_that_an_earlier_headstart_exported_is_used_again(self, fresh_cache_home):
        """Its int8 files belong to it, so that stores in int8 can go on."""
        plain = Choice("toy:three", "random")
        former = dataclasses.replace(plain, policy=3)
        ruled, _ = export.model_file(former)
        assert describe(ruled).preprocess.policy == 3
        earlier = export._place(backbones.find(plain), 3)
        earlier.write_bytes(ruled.read_bytes())
        assert export.model_file(former) == (earlier, None)
        assert describe(export.model_file(plain)[0]).preprocess.policy == POLICY

    @pytest.mark.slow
    def test_its_weights_may_be_a_users_file(self, tmp_path):
        import torch

        network = backbones.find(Choice("toy:three", "random:5")).build()
        path = tmp_path / "own.pth"
        torch.save(network.module[0].state_dict(), path)
        module, backbone = backbones.find(Choice("toy:three", str(path))).load()
        assert backbone.name == "toy:three+file"
        image = torch.ones(1, 3, 16, 16)
        assert torch.equal(module(image), network.module(image))

    @pytest.mark.slow
    def test_a_shortage_is_noticed_before_the_export_and_does_not_end_it(
        self, tmp_path, fresh_cache_home, monkeypatch
    ):
        import torch

        network = backbones.find(Choice("toy:three", "random")).build()
        torch.save(network.module[0].state_dict(), tmp_path / "own.pth")
        monkeypatch.setattr(export, "_LARGE", 1)
        monkeypatch.setattr(export, "available_memory", lambda: 1000)
        lines: list[str] = []
        choice = Choice("toy:three", str(tmp_path / "own.pth"))
        assert export.model_file(choice, notice=lines.append)[0].is_file()
        assert ["toy:three" in line for line in lines] == [True]

    def test_settings_left_out_are_a_stores_or_the_defaults(self):
        plain = Choice("toy:three", "random")
        assert backbones.settled(plain) == dataclasses.replace(plain, layer="0.1")
        for own in (Choice("toy:three", layer=PRE_LOGITS), Choice("toy:three", pool="max")):
            assert backbones.settled(own) == own
        own = Choice("toy:three", "random", layer=PRE_LOGITS)
        _, stored = backbones.find(own).load()
        assert backbones.settled(plain, stored) == dataclasses.replace(own, fit="crop")
        _, two = backbones.find(dataclasses.replace(plain, layers=("0.1", PRE_LOGITS))).load()
        assert backbones.settled(plain, two).layers == ("0.1", PRE_LOGITS)
        bare = Choice("toy:bare")  # another network's layers are not taken over
        assert backbones.settled(bare, stored).layer == "0.1"
        decoded = dataclasses.replace(stored.preprocess, value_range="0:4095", colour="srgb")
        stored = dataclasses.replace(stored, preprocess=decoded)
        assert backbones.settled(own, stored).value_range == "0:4095"
        assert backbones.settled(own, stored).colour == "srgb"
        assert backbones.settled(Choice("toy:three", value_range="dtype"), stored).colour == "srgb"

    def test_several_networks_go_on_with_the_layers_of_a_store(self, tmp_path):
        both = Choice("toy:three+toy:bare", "random")
        assert [each.layer for each in backbones.settled(both).networks] == ["0.1", "0.1"]
        own = [Choice("toy:bare", "random", "0.0"), Choice("toy:three", "random", PRE_LOGITS)]
        networks = tuple(backbones.find(each).load()[1] for each in own)
        stored = dataclasses.replace(
            networks[0], name="toy:bare+random+toy:three+random", networks=networks
        )
        settled = backbones.settled(both, stored)
        assert [each.layer for each in settled.networks] == [PRE_LOGITS, "0.0"]
        found = backbones.choice_of(stored)
        assert [each.layer for each in found.networks] == ["0.0", PRE_LOGITS]
        assert [each.weights for each in backbones.members_of(found)] == ["random", "random"]
        own_file = tmp_path / "x.onnx"
        own_file.touch()
        mixed = Choice(f"toy:three+onnx:{own_file}")
        assert backbones.users_file(mixed) == f"\n{own_file}"
        foreign = dataclasses.replace(networks[0], name="onnx:x.onnx")
        stored = dataclasses.replace(stored, networks=(networks[1], foreign))
        again = backbones.choice_of(stored, backbones.users_file(mixed))
        assert [each.name for each in again.networks] == ["toy:three", f"onnx:{own_file}"]

    @pytest.mark.slow
    def test_the_best_quality_has_two_views(self, tmp_path, image_folder, fresh_cache_home):
        best = Choice("toy:three", "random", quality="best")
        candidate = backbones.find(best)
        plain = backbones.find(dataclasses.replace(best, quality=""))
        assert candidate.identity != plain.identity
        described, own = (each.load()[1] for each in (candidate, plain))
        assert (own.preprocess.resize, own.preprocess.size) == (18, (16, 16))
        assert (described.preprocess.resize, described.preprocess.size) == (18, (18, 18))
        assert described.dim == 2 * own.dim
        assert "quality" not in own.to_json()["preprocess"]
        assert Backbone.from_json(described.to_json()) == described
        assert backbones.choice_of(described).quality == "best"

        import torch

        image = torch.rand(2, 3, 18, 18)
        module, middle = candidate.load()[0], plain.load()[0](image[:, :, 1:-1, 1:-1])
        expected = torch.nn.functional.normalize(middle, dim=1)
        assert torch.equal(module(image)[:, own.dim :], expected)
        _, two = backbones.find(dataclasses.replace(best, layers=("0.0", "0.1"))).load()
        assert two.widths == (10, 10)

        root, out = image_folder("photos"), tmp_path / "s.h5"
        first = embed(root, out, EmbedConfig(best, workers=1))
        assert first.embedded > 0
        again = embed(root, out, EmbedConfig(Choice("toy:three", "random"), workers=1))
        assert not again.changed  # the store goes on with its own
        assert store.read(out).extraction["backbone"]["preprocess"]["crop"] == 18
        embedder = ImageEmbedder("toy:three", weights="random", quality="best")
        path = root / store.read(out).path[0]
        assert np.array_equal(embedder.transform([path])[0], store.read(out).features[0])

    def test_a_quality_is_refused_where_it_cannot_be(self, tiny_backbone):
        for name, message in (
            ("toy:three", "no quality 'good'"),
            (f"onnx:{tiny_backbone}", "--preprocess PRESET:SIZE"),
        ):
            with pytest.raises(BackboneError, match=message):
                backbones.find(Choice(name, quality="good"))
        with pytest.raises(BackboneError, match="exported already"):
            export.model_file(Choice(str(tiny_backbone), quality="best"))

    @pytest.mark.slow
    def test_a_network_of_one_size_has_no_better_quality(self, monkeypatch):
        take_one_size(monkeypatch)
        assert backbones.find(Choice("toy:three", "random")).load()[1].dim == 4
        with pytest.raises(BackboneError, match="one size only; leave --quality out"):
            backbones.find(Choice("toy:three", "random", quality="best")).load()

    @pytest.mark.slow
    def test_whole_images_and_sizes_are_of_the_network(self, tmp_path, image_folder):
        root = image_folder("photos")
        for name, kw in (
            ("whole", {"fit": "whole"}),
            ("size", {"size": (24, 24)}),
            ("mirrored", {"fit": "whole", "views": "flip"}),
        ):
            choice = Choice("toy:three", "random", **kw)
            out = tmp_path / f"{name}.h5"
            assert embed(root, out, EmbedConfig(choice, workers=1)).embedded > 0
            plain = Choice("toy:three", "random")
            assert not embed(root, out, EmbedConfig(plain, workers=1)).changed
            rows = store.read(out)
            described = Backbone.from_json(rows.extraction["backbone"])
            again = backbones.choice_of(described)
            assert (again.fit or "crop", again.size) == (kw.get("fit", "crop"), kw.get("size"))
            kw = {"image_fit" if key == "fit" else key: value for key, value in kw.items()}
            embedder = ImageEmbedder("toy:three", weights="random", **kw)
            assert np.array_equal(embedder.transform([root / rows.path[0]])[0], rows.features[0])

    @pytest.mark.slow
    def test_a_network_of_one_size_takes_no_other(self, monkeypatch):
        take_one_size(monkeypatch)
        for kw, message in (
            ({"size": (24, 24)}, r"of 24 × 24 \(.+\); leave --size out for its own 16 × 16$"),
            ({"fit": "whole"}, "one shape only; leave --fit whole out, or use --fit pad or squash"),
        ):
            with pytest.raises(BackboneError, match=message):
                backbones.find(Choice("toy:three", "random", **kw)).load()

    def test_an_embedder_of_before_keeps_its_layer(self):
        embedder = ImageEmbedder("toy:three", weights="random")
        assert embedder._choice().layer == "0.1"
        embedder.n_features_out_ = 5  # as an earlier version fitted it
        assert embedder._choice().layer == ""
        embedder.layer_ = "0.1"
        assert embedder._choice().layer == "0.1"

    @pytest.mark.slow
    def test_a_store_goes_on_with_its_own_layer(self, tmp_path, image_folder):
        lines: list[str] = []
        root, plain = image_folder("photos"), Choice("toy:three", "random")

        def run(choice: Choice, out: str) -> str:
            config = EmbedConfig(choice, workers=1)
            embed(root, tmp_path / out, config, Hooks(notice=lines.append))
            return store.read_origin(tmp_path / out).backbone["layer"]

        own = dataclasses.replace(plain, layer=PRE_LOGITS)
        assert run(own, "own.h5") == run(plain, "own.h5") == PRE_LOGITS
        assert sum("own layer pre-logits" in line for line in lines) == 1
        assert run(plain, "new.h5") == "0.1"
        with pytest.raises(StoreError, match="layer"):
            run(own, "new.h5")

    def test_a_prefix_belongs_to_one_provider(self):
        class Other(ToyProvider):
            prefix = "timm"

        with pytest.raises(ValueError, match="TimmProvider"):
            backbones.register(Other())
        for prefix in ("onnx", "a:b"):
            Other.prefix = prefix
            with pytest.raises(ValueError, match="cannot be the prefix"):
                backbones.register(Other())
        backbones.register(ToyProvider())  # a notebook's cell, run again

    def test_what_it_does_not_offer_is_named(self):
        with pytest.raises(BackboneError, match="did you mean toy:three"):
            backbones.find(Choice("toy:thre", "random"))
        with pytest.raises(BackboneError, match="no backbone 'toys:three'; did you mean toy:three"):
            backbones.find("toys:three")

    def test_its_files_are_kept_where_torchs_are(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        entry = backbones.find(Choice("toy:three", "random")).entry
        assert not backbones.is_available(entry)
        path = Path(tmp_path, "hub", "checkpoints", "3.pth")
        path.parent.mkdir(parents=True)
        path.touch()
        assert backbones.is_available(entry)
