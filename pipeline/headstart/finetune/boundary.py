"""Divide a network at a layer: what stays frozen before it, and the top that is trained behind it.

The top is the library's own network in which everything that is finished when the boundary is
reached has been taken out. Those modules return zeros of the right shape, without memory behind
them, and the boundary returns the activation that was stored. So any network whose layers can be
named can be divided, whatever its ``forward`` does; what a division costs in exactness is measured:
a network with a connection that goes around the boundary does not give the same features, and the
boundary is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from headstart.backbones.layers import Layer, list_layers
from headstart.backbones.network import Network
from headstart.core.errors import BackboneError, near_matches, one_line

MAX_ERROR = 1e-3  # of the largest feature, in float32
_TRIED = 8  # boundaries, when the user named none
_LAST_BLOCKS = 6  # of networks without stages, a sixth of the blocks is the top


class _Given:
    """What the stand-ins return: shared by all of one network."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None


class _StandIn(torch.nn.Module):
    """In the place of a module that is not needed any more."""

    def __init__(self, original: torch.nn.Module, made: list[Any], given: _Given) -> None:
        super().__init__()
        self._kept = [original]  # in a list, so that it is no part of the network
        self._made, self._given, self._calls = made, given, 0

    def forward(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - what the module returns
        made = self._made[self._calls % len(self._made)]
        self._calls += 1
        return _empty(made, self._given)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_kept"][0], name)


class _Boundary(torch.nn.Module):
    """In the place of the boundary: returns the activation."""

    def __init__(self, given: _Given) -> None:
        super().__init__()
        self._given = given

    def forward(self, *_: object, **__: object) -> torch.Tensor:
        assert self._given.value is not None
        return self._given.value


class Top(torch.nn.Module):
    """The part of a network behind a boundary.

    Takes ``(n, d)`` activations, any floating type, and returns ``(n, features)``.

    Attributes:
        network: the library's network, with stand-ins; its state has the library's names.
    """

    def __init__(
        self,
        features: torch.nn.Module,
        given: _Given,
        shape: tuple[int, ...],
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.features = features
        self._given, self._shape, self._size = given, shape, size

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the features of ``(n, d)`` activations."""
        n = len(activations)
        value = activations.reshape(n, *self._shape).float()
        if value.dim() == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        self._given.value = value
        try:
            found: torch.Tensor = self.features(value.new_zeros(()).expand(n, 3, *self._size))
            return found
        finally:
            self._given.value = None


def divide(build: Callable[[], Network], name: str = "") -> tuple[Layer, Top, torch.nn.Module]:
    """Find the boundary and build the top behind it.

    Args:
        build: makes the library's network.
        name: the boundary as `list_layers` names it; empty for the input of the last stage.

    Returns:
        The boundary, the top with gradients only where training reaches, and the library's network
        within it, by whose names its tensors are saved.

    Raises:
        BackboneError: there is no such layer, nothing can be trained behind it, or the network has
            connections around it.
    """
    network = build()
    found = list_layers(network.module, network.preprocess.size)
    if name:
        return _divided(build, _named(found, name))
    errors = []
    for layer in last_stage(found)[:_TRIED]:
        try:
            return _divided(build, layer)
        except BackboneError as error:
            errors.append(error)
    told = f" ({errors[0]})" if errors else ""
    raise BackboneError(f"this network has no last stage to train; name one with --from{told}")


def last_stage(layers: list[Layer]) -> list[Layer]:
    """Return the layers that a last stage may begin behind, the most likely first.

    Of a network with maps, the plainest names among the layers of the last but one resolution; of
    one without, blocks of the same shape, a sixth of them from the end.
    """
    maps = [one for one in layers if one.is_map and one.layout != "tokens"]

    def places(layer: Layer) -> int:
        height, width = layer.shape[-2:] if layer.layout == "chw" else layer.shape[:2]
        return height * width

    larger = [places(one) for one in maps if places(one) > places(maps[-1])]
    if larger:
        stage = [one for one in maps if places(one) == min(larger)]
    else:
        rows = [one for one in layers if re.search(r"\d+$", one.name)]
        plainest = min((one.name.count(".") for one in rows), default=0)
        rows = [one for one in rows if one.name.count(".") == plainest]
        stage = rows[: len(rows) - max(1, len(rows) // _LAST_BLOCKS)]
    return sorted(reversed(stage), key=lambda one: one.name.count("."))


def _named(layers: list[Layer], name: str) -> Layer:
    by_name = {layer.name: layer for layer in layers}
    if name not in by_name:
        raise BackboneError(
            f"no layer {one_line(name)!r} to train from; {near_matches(name, by_name)}"
            "see: headstart backbones NAME --layers"
        )
    return by_name[name]


def _divided(build: Callable[[], Network], layer: Layer) -> tuple[Layer, Top, torch.nn.Module]:
    network = build()
    features = network.headless()
    size = network.preprocess.size
    names = dict(network.module.named_modules())
    if layer.name not in names:  # the second call of a module
        raise BackboneError(
            f"layer {layer.name} is a second use of one module; choose another --from"
        )
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    ends, made, expected = _watch(network.module, features, images)
    given = _Given()
    activation = made[layer.name][0]
    _replace(network.module, layer.name, ends, made, given)
    top = Top(features, given, tuple(activation.shape[1:]), size)
    _check(top, activation.flatten(1), expected, layer)
    return layer, top, network.module


def _watch(
    network: torch.nn.Module, features: torch.nn.Module, images: torch.Tensor
) -> tuple[dict[str, int], dict[str, list[Any]], torch.Tensor]:
    """Run a network once; returns when each module ended, what it returned, and the features."""
    ends: dict[str, int] = {}
    made: dict[str, list[Any]] = {}

    def note(name: str, out: object) -> None:
        ends[name] = len(ends) + sum(map(len, made.values()))
        made.setdefault(name, []).append(out)

    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: note(name, out))
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        expected = features.eval()(images)
    for handle in handles:
        handle.remove()
    return ends, made, expected


def _replace(
    network: torch.nn.Module,
    boundary: str,
    ends: dict[str, int],
    made: dict[str, list[Any]],
    given: _Given,
) -> None:
    """Put stand-ins in the place of the boundary and of all that is finished when it ends."""
    gone: list[str] = []
    for name in [name for name, _ in network.named_modules() if name]:
        if any(name.startswith(f"{parent}.") for parent in gone):
            continue
        if name not in ends or ends[name] > ends[boundary]:
            continue
        parent, _, child = name.rpartition(".")
        holder = network.get_submodule(parent)
        original = holder._modules[child]
        assert original is not None
        stand_in = _Boundary(given) if name == boundary else _StandIn(original, made[name], given)
        holder._modules[child] = stand_in
        gone.append(name)


def _check(top: Top, activation: torch.Tensor, expected: torch.Tensor, layer: Layer) -> None:
    """Make sure that the top gives the network's features, and see what training reaches."""
    top.eval()
    with torch.enable_grad():
        got = top(torch.cat([activation, activation[:1]]))  # of three images, where two were seen
        error = float((got[:2].detach() - expected).abs().max())
        if not error <= MAX_ERROR * float(expected.abs().max()):
            raise BackboneError(
                f"the network has connections that go around layer {layer.name}, so it cannot be "
                "divided there; choose another --from"
            )
        if got.requires_grad:
            got.sum().backward()
    for parameter in top.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    if not any(parameter.requires_grad for parameter in top.parameters()):
        raise BackboneError(
            f"nothing can be trained behind layer {layer.name}; choose an earlier --from, or "
            "--mode head"
        )


def _empty(made: Any, given: _Given) -> Any:  # noqa: ANN401
    """Return zeros for as many images as are given, in the shape of what two images gave."""
    if isinstance(made, torch.Tensor):
        assert given.value is not None
        if made.dim() == 0 or made.shape[0] % 2:
            return made.to(given.value.device)
        shape = (made.shape[0] * len(given.value) // 2, *made.shape[1:])
        return given.value.new_zeros((), dtype=made.dtype).expand(shape)
    if isinstance(made, tuple | list):
        return type(made)(_empty(one, given) for one in made)
    return made
