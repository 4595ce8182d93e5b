"""Cutting at a layer and pooling: against the libraries' own ways to do so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.backbones.layers import (
    CLASSED,
    POOLS,
    Layer,
    choose,
    list_layers,
    pooled,
    worth_trying,
)
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from headstart.core.torchvision_import import import_torchvision

RESNET = "torchvision:resnet18"
VIT = "timm:test_vit"  # six blocks, on images of 160 pixels
SMALL = "timm:test_resnet"  # of a million parameters, on images of 160 pixels
MAPS = Layer("maps", (5, 3, 4), "chw")
TOKENS = Layer("tokens", (12, 5), "tokens", prefix=2, classed=True)
VECTOR = Layer("vector", (9,), "vector")


def random(name: str, layer: str = "", pool: str = ""):
    return backbones.find(Choice(name, "random", layer, pool))


class TestPooling:
    """Each pooling against numpy."""

    @pytest.mark.parametrize("pool", ["avg", "max", "gem", "flatten"])
    @pytest.mark.parametrize("layout", ["chw", "hwc", "tokens"])
    def test_it_is_what_it_says(self, pool, layout):
        import torch

        rng = np.random.default_rng(3)
        chw = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
        places = chw.reshape(2, 5, 12).transpose(0, 2, 1)
        given = {
            "chw": chw,
            "hwc": chw.transpose(0, 2, 3, 1),
            "tokens": np.concatenate([np.full((2, 2, 5), 99, np.float32), places], axis=1),
        }[layout]
        layer = Layer("x", given.shape[1:], layout, prefix=2 if layout == "tokens" else 0)
        want = {
            "avg": places.mean(1),
            "max": places.max(1),
            "gem": (places.clip(1e-6).astype(float) ** 3).mean(1) ** (1 / 3),
            "flatten": given.reshape(2, -1),
        }[pool]
        got = pooled(layer, pool)(torch.from_numpy(given.copy())).numpy()
        assert np.allclose(got, want, atol=1e-5)
        assert got.shape[1] == layer.dim(pool)

    def test_the_class_token(self):
        import torch

        given = torch.arange(60.0).reshape(1, 12, 5)
        assert pooled(TOKENS, "cls")(given).tolist() == [[0, 1, 2, 3, 4]]
        both = pooled(TOKENS, "cls+avg")(given).tolist()
        assert both == [[0, 1, 2, 3, 4, 32.5, 33.5, 34.5, 35.5, 36.5]]
        assert TOKENS.dim("cls+avg") == 10


class TestChoice:
    def test_the_last_place_to_pool_is_the_default(self):
        assert choose([MAPS, TOKENS, VECTOR], "", "avg") == (TOKENS, "avg")
        assert choose([MAPS, VECTOR], "", "max") == (MAPS, "max")
        assert choose([MAPS, VECTOR], "vector", "") == (VECTOR, "flatten")
        assert choose([MAPS, VECTOR], "maps", "") == (MAPS, "avg")

    @pytest.mark.parametrize(
        ("name", "pool", "said"),
        [
            (
                "map",
                "",
                "no layer 'map'; did you mean maps; see: headstart backbones NAME --layers",
            ),
            ("zz\n", "", "no layer 'zz"),
            ("vector", "avg", "is a vector already; leave --pool out"),
            ("maps", "cls", "has no class token; use --pool avg"),
            ("maps", "cls+avg", "has no class token; use --pool avg"),
            ("maps", "mean", "no pooling 'mean'; use one of: avg, max, gem, cls, cls+avg, flatten"),
        ],
    )
    def test_what_there_is_not(self, name, pool, said):
        with pytest.raises(BackboneError) as caught:
            choose([MAPS, VECTOR], name, pool)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()

    def test_no_class_token_anywhere(self):
        with pytest.raises(BackboneError, match="no layer for --pool cls"):
            choose([MAPS, VECTOR], "", "cls")


class TestListing:
    @pytest.mark.cases(6)
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            (RESNET, Layer("layer3", (256, 14, 14), "chw")),
            (RESNET, Layer("avgpool", (512, 1, 1), "chw")),
            (RESNET, Layer("layer1.0.relu_1", (64, 56, 56), "chw")),
            (RESNET, Layer("fc", (1000,), "vector")),
            ("torchvision:vit_b_32", Layer("encoder.ln", (50, 768), "tokens", 1, True)),
            ("torchvision:swin_t", Layer("features.3", (28, 28, 192), "hwc")),
            ("torchvision:swin_t", Layer("permute", (768, 7, 7), "chw")),
            (VIT, Layer("blocks.5", (101, 64), "tokens", 1, True)),
            ("timm:swin_tiny_patch4_window7_224", Layer("layers.1", (28, 28, 192), "hwc")),
            ("timm:deit_tiny_distilled_patch16_224", Layer("norm", (198, 192), "tokens", 2, True)),
            ("timm:mixer_s32_224", Layer("norm", (49, 512), "tokens")),
            ("efficientnet-lite0", Layer("bn2", (1280, 7, 7), "chw")),
        ],
    )
    def test_names_shapes_and_layouts(self, name, layer):
        assert layer in backbones.layers_of(name).layers

    @pytest.mark.slow
    def test_the_librarys_own_names_of_features(self):
        """timm's feature_info, and torchvision's graph nodes as far as they are modules."""
        import_torchvision()
        from torchvision.models.feature_extraction import get_graph_node_names

        names = {layer.name for layer in backbones.layers_of("timm:resnet18").layers}
        info = random("timm:resnet18").build().module.feature_info
        assert {stage["module"] for stage in info} <= names
        network = import_torchvision().models.get_model("resnet18", weights=None)
        nodes = get_graph_node_names(network)[1]
        ours = {layer.name for layer in backbones.layers_of(RESNET).layers}
        functional = {"x", "flatten"} | {node for node in nodes if node.split(".")[-1][:3] == "add"}
        assert set(nodes) - functional <= ours


class TestCut:
    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("node", ["layer3", "layer2.1.relu", "layer2.1.relu_1", "avgpool"])
    def test_it_gives_what_torchvisions_extractor_gives(self, node):
        import torch

        import_torchvision()
        from torchvision.models.feature_extraction import create_feature_extractor

        network = random(RESNET).build().module
        module, backbone = random(RESNET, node).load()
        image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            maps = create_feature_extractor(network, [node])(image)[node]
            got = module(image)
        assert (backbone.layer, backbone.pool, backbone.dim) == (node, "avg", maps.shape[1])
        assert torch.allclose(got, maps.mean((2, 3)), atol=1e-6)

    @pytest.mark.slow
    def test_the_tokens_of_a_block_are_timms(self):
        import torch

        network = random(VIT).build().module
        image = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            ((patches, prefix),) = network.forward_intermediates(
                image, [4], output_fmt="NLC", intermediates_only=True, return_prefix_tokens=True
            )
            mean = random(VIT, "blocks.4").load()[0](image)
            first = random(VIT, "blocks.4", "cls").load()[0](image)
        assert torch.allclose(mean, patches.mean(1), atol=1e-5)
        assert torch.allclose(first, prefix[:, 0], atol=1e-5)

    @pytest.mark.slow
    def test_every_choice_is_another_identity(self):
        choices = [("", ""), ("layer3", ""), ("layer3", "max"), ("layer2", ""), ("", "gem")]
        loaded = [random(SMALL, *choice).load()[1] for choice in choices]
        assert len({(b.layer, b.pool) for b in loaded}) == len(choices)
        assert loaded[0].layer == "pre-logits"
        assert (loaded[4].layer, loaded[4].pool) == ("layer4", "gem")
        sums = [repr(random(SMALL, *choice).identity) for choice in choices]
        assert len(set(sums)) == len(choices)
        for backbone in loaded:  # what a store says of it is enough to have it again
            assert backbones.find(backbones.choice_of(backbone)).load()[1] == backbone

    @pytest.mark.cases(2)
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "given", "pool", "named"),
        [
            (RESNET, ("layer4", "layer2"), "max", [("layer2", "max"), ("layer4", "max")]),
            (
                RESNET,
                ("pre-logits", "layer3", "fc"),
                "",
                [("layer3", "avg"), ("fc", "flatten"), ("pre-logits", "own")],
            ),
            (VIT, ("blocks.4", "blocks.2"), "cls", [("blocks.2", "cls"), ("blocks.4", "cls")]),
            ("efficientnet-lite0", ("pre-logits", "blocks.3"), "", None),
        ],
    )
    def test_several_layers_are_each_alone(self, name, given, pool, named):
        import torch

        choice = Choice(name, "random", pool=pool, layers=given)
        module, backbone = backbones.find(choice).load()
        side = 160 if name == VIT else 224
        image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        assert named is None or [(p.layer, p.pool) for p in backbone.parts] == named
        with torch.inference_mode():
            rows = module(image)
            for row, part, described in zip(
                rows, backbone.parts, backbone.split_layers(), strict=True
            ):
                own = part.layer == "pre-logits" or (part.layer, name) == (
                    "bn2",
                    "efficientnet-lite0",
                )
                alone, what = random(name, "" if own else part.layer, "" if own else pool).load()
                assert torch.allclose(row, alone(image), atol=1e-5)
                assert described == what
        again = backbones.find(backbones.choice_of(backbone)).load()[1]
        assert again == backbone
        turned = Choice(name, "random", pool=pool, layers=given[::-1])
        assert backbones.find(turned).identity == backbones.find(choice).identity

    @pytest.mark.slow
    def test_layers_side_by_side_are_one_layer_of_parts_with_norm_1(self):
        import torch

        module, backbone = random(SMALL, "layer4+layer2").load()
        assert (backbone.layer, backbone.pool) == ("layer2+layer4", "avg")
        assert not backbone.parts
        image = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            rows = module(image)
            alone = [random(SMALL, name).load()[0](image) for name in ("layer2", "layer4")]
        expected = torch.cat([part / part.norm(dim=1, keepdim=True) for part in alone], dim=1)
        assert torch.allclose(rows, expected, atol=1e-5)
        assert backbones.find(backbones.choice_of(backbone)).load()[1] == backbone
        for layer, message in (("layer2+layer2", "repeats a layer"), ("layer2+x", "no layer 'x'")):
            with pytest.raises(BackboneError, match=message):
                random(SMALL, layer).load()

    @pytest.mark.slow
    def test_a_layer_that_is_not_there_or_there_twice(self):
        with pytest.raises(BackboneError, match="no layer 'layer44'; did you mean layer4"):
            backbones.find(Choice(RESNET, "random", layers=("layer2", "layer44"))).load()
        with pytest.raises(BackboneError, match="layer fc is a vector already; leave --pool out"):
            backbones.find(Choice(RESNET, "random", pool="avg", layers=("layer2", "fc"))).load()
        layers = ("layer4", "pre-logits")
        with pytest.raises(BackboneError, match="pre-logits is layer4 in this network"):
            backbones.find(Choice(RESNET, "random", pool="max", layers=layers)).load()

    @pytest.mark.slow
    def test_pooling_the_embedded_network_is_its_own_layer(self):
        _, plain = backbones.find("efficientnet-lite0").load()
        _, cut = backbones.find(Choice("efficientnet-lite0", layer="bn2", pool="avg")).load()
        assert cut == plain

    @pytest.mark.parametrize("pool", [pool for pool in POOLS if pool not in CLASSED])
    def test_any_pooling_of_the_last_maps(self, pool):
        _, backbone = random("torchvision:squeezenet1_1", "", pool).load()
        assert backbone.pool == pool
        assert backbone.dim > 0


@pytest.mark.slow
class TestExported:
    @pytest.mark.parametrize(
        ("name", "layer", "pool", "share"),
        [
            pytest.param(RESNET, "layer2", "max", 0.1, marks=pytest.mark.long),
            (VIT, "blocks.1", "cls", 0.5),
        ],
    )
    def test_the_rest_of_the_network_is_not_in_the_file(self, name, layer, pool, share, tmp_path):
        whole = sum(p.numel() for p in random(name).build().module.parameters()) * 4
        module, backbone = random(name, layer, pool).load()
        export.export(module, backbone, tmp_path / "cut.onnx")
        constants = onnx.load(tmp_path / "cut.onnx").graph.initializer
        assert 0 < sum(len(tensor.raw_data) for tensor in constants) < share * whole
        assert Runner(tmp_path / "cut.onnx").backbone == backbone


class TestWorthTrying:
    """Whole stages or blocks, the deepest first; never a tensor inside one."""

    @staticmethod
    def listed(*rows):
        return [Layer(name, shape, "chw" if len(shape) == 3 else "tokens") for name, shape in rows]

    def test_blocks_of_stages(self):
        layers = self.listed(
            ("bn1", (8, 16, 16)),
            ("blocks.0.0.conv", (8, 16, 16)),
            ("blocks.0.0.act", (8, 16, 16)),
            ("blocks.0.0", (8, 16, 16)),
            ("blocks.0", (8, 16, 16)),
            ("blocks.1.0.bn1", (64, 16, 16)),
            ("blocks.1.0.conv", (9, 8, 8)),
            ("blocks.1.0", (9, 8, 8)),
            ("blocks.1.1", (9, 8, 8)),
            ("blocks.1", (9, 8, 8)),
            ("blocks", (9, 8, 8)),
            ("bn2.act", (32, 8, 8)),
            ("bn2", (32, 8, 8)),
        )
        assert [layer.name for layer in worth_trying(layers)] == ["blocks.1", "blocks.0"]

    def test_many_blocks_of_equal_size(self):
        rows = [(f"blocks.{n}{inner}", (5, 4)) for n in range(12) for inner in (".mlp", "")]
        names = [layer.name for layer in worth_trying(self.listed(*rows))]
        assert names == ["blocks.11", "blocks.10", "blocks.9", "blocks.8"]

    def test_many_blocks_of_several_sizes(self):
        rows = [
            (f"features.{n}{inner}", (4, side, side))
            for n, side in enumerate([8] * 5 + [4] * 3 + [2] * 3)
            for inner in (".conv", "")
        ]
        names = [layer.name for layer in worth_trying(self.listed(*rows))]
        assert names == ["features.10", "features.7", "features.4"]

    def test_no_blocks(self):
        layers = self.listed(
            ("conv1.conv", (4, 8, 8)), ("conv1", (4, 8, 8)), ("mixed_b", (6, 4, 4))
        )
        assert [layer.name for layer in worth_trying(layers)] == ["mixed_b", "conv1"]


@pytest.mark.slow
def test_layers_without_weights_are_those_with_them():
    network = backbones.find(Choice("efficientnet-lite0")).build().module
    *layers, emptied = list_layers(network, (224, 224))
    assert emptied.name == "classifier"
    assert layers == backbones.layers_of("efficientnet-lite0").layers
