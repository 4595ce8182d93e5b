"""Dividing real networks: the top gives the network's features, or the boundary is refused."""

from __future__ import annotations

import pytest
import torch
from headstart import backbones
from headstart.backbones.layers import Layer
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from headstart.finetune.boundary import divide, last_stage

pytestmark = pytest.mark.slow
RESNET = "timm:resnet18"


def build(name: str = RESNET):
    return backbones.find(Choice(name, "random")).build


def activation(name: str, layer: str, images: torch.Tensor) -> torch.Tensor:
    taken = []
    module = build(name)().module
    module.get_submodule(layer).register_forward_hook(lambda _m, _i, out: taken.append(out))
    with torch.no_grad():
        module(images)
    return taken[0].flatten(1)


@pytest.mark.parametrize(
    ("name", "layer"), [(RESNET, "layer3"), ("efficientnet-lite0", "blocks.4")]
)
def test_the_top_is_the_last_stage_and_gives_the_networks_features(name, layer):
    images = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    found, top, network = divide(build(name))
    assert found.name == layer
    with torch.no_grad():
        whole = build(name)().headless().eval()(images)
        torch.testing.assert_close(top(activation(name, layer, images)), whole)
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert trained
    assert trained == {n for n, _ in network.named_parameters()}  # what is frozen is gone
    assert trained < {n for n, _ in build(name)().module.named_parameters()}


def test_a_boundary_that_connections_go_around_is_refused():
    with pytest.raises(BackboneError, match=r"bypasses layer layer4\.0\.conv1"):
        divide(build(), "layer4.0.conv1")


def test_a_boundary_that_does_not_exist_names_those_near():
    with pytest.raises(BackboneError, match=r"no layer 'layer33'.*did you mean layer3"):
        divide(build(), "layer33")


def test_a_boundary_with_nothing_behind_it_is_refused():
    with pytest.raises(BackboneError, match="trained behind layer layer4"):
        divide(build(), "layer4")


def test_a_network_without_stages_ends_in_a_sixth_of_its_blocks():
    blocks = [Layer(f"blocks.{n}", (17, 8), "tokens", 1, True) for n in range(12)]
    assert last_stage([Layer("patch", (16, 8), "tokens"), *blocks])[0].name == "blocks.9"
