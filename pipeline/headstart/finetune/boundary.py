"""Divide a network at a layer, the boundary: the part before it is frozen, the top is trained.

The top is the library's own network. Every module that finishes before the boundary becomes a
stand-in, which returns zeros of the right shape without allocating them; the boundary itself
returns the stored activation. So you can divide any network with named layers. If a connection
bypasses a boundary, the top's features differ from the network's, and the boundary is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from headstart.backbones.layers import Layer, list_layers, named, watched
from headstart.backbones.network import Network
from headstart.core.errors import BackboneError

MAX_ERROR = 1e-3  # of the largest feature, in float32
_ATTEMPTS = 8  # boundaries to try, if the user names none
_LAST_BLOCKS = 6  # without stages, the last sixth of the blocks is the top


class _Activation:
    """The stored activation, shared by all stand-ins of a network."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None


class _StandIn(torch.nn.Module):
    def __init__(
        self, original: torch.nn.Module, outputs: list[Any], activation: _Activation
    ) -> None:
        super().__init__()
        self._original = [original]  # in a list, so that it is not a submodule
        self._outputs, self._activation, self._calls = outputs, activation, 0

    def forward(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - what the module returns
        output = self._outputs[self._calls % len(self._outputs)]
        self._calls += 1
        return _zeros_like(output, self._activation)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_original"][0], name)


class _Boundary(torch.nn.Module):
    def __init__(self, activation: _Activation) -> None:
        super().__init__()
        self._activation = activation

    def forward(self, *_: object, **__: object) -> torch.Tensor:
        assert self._activation.value is not None
        return self._activation.value


class Top(torch.nn.Module):
    """The part of a network behind a boundary; takes activations of any floating type."""

    def __init__(
        self,
        features: torch.nn.Module,
        activation: _Activation,
        shape: tuple[int, ...],
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.features = features
        self._activation, self._shape, self._size = activation, shape, size

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """Return ``(n, features)`` for ``(n, d)`` activations."""
        n = len(activations)
        value = activations.reshape(n, *self._shape).float()
        if value.dim() == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        self._activation.value = value
        try:
            images = value.new_zeros(()).expand(n, 3, *self._size)
            features: torch.Tensor = self.features(images)
            return features
        finally:
            self._activation.value = None


def divide(build: Callable[[], Network], name: str = "") -> tuple[Layer, Top, torch.nn.Module]:
    """Find the boundary and build the top behind it.

    ``build`` returns a new network of the library. ``name`` is one of `list_layers`; an empty one
    stands for the input of the last stage.

    Returns:
        The boundary; the top, whose parameters need gradients only where training reaches them; and
        the library's network within it, whose names its tensors are saved under.

    Raises:
        BackboneError: no such layer, a connection bypasses it, or it leaves nothing to train.
    """
    network = build()
    layers = list_layers(network.module, network.preprocess.size)
    if name:
        return _divide(build, named(layers, name))
    errors = []
    for layer in last_stage(layers)[:_ATTEMPTS]:
        try:
            return _divide(build, layer)
        except BackboneError as error:
            errors.append(error)
    cause = f" ({errors[0]})" if errors else ""
    raise BackboneError(f"found no last stage to train; name a layer with --from{cause}")


def last_stage(layers: list[Layer]) -> list[Layer]:
    """Return candidates for the input of the last stage, the most likely first.

    With feature maps, these are the layers of the last resolution but one, those with the fewest
    dots in their names first; without, the numbered blocks before the last sixth.
    """
    maps = [layer for layer in layers if layer.is_map and layer.layout != "tokens"]

    def area(layer: Layer) -> int:
        height, width = layer.shape[-2:] if layer.layout == "chw" else layer.shape[:2]
        return height * width

    larger = [area(layer) for layer in maps if area(layer) > area(maps[-1])]
    if larger:
        stage = [layer for layer in maps if area(layer) == min(larger)]
    else:
        blocks = [layer for layer in layers if re.search(r"\d+$", layer.name)]
        fewest = min((layer.name.count(".") for layer in blocks), default=0)
        blocks = [layer for layer in blocks if layer.name.count(".") == fewest]
        stage = blocks[: len(blocks) - max(1, len(blocks) // _LAST_BLOCKS)]
    return sorted(reversed(stage), key=lambda layer: layer.name.count("."))


def _divide(build: Callable[[], Network], layer: Layer) -> tuple[Layer, Top, torch.nn.Module]:
    network = build()
    features = network.headless()
    size = network.preprocess.size
    names = dict(network.module.named_modules())
    if layer.name not in names:  # a later call of a module
        raise BackboneError(
            f"layer {layer.name} is a repeated call of a module; choose another --from"
        )
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    trace, expected = _trace(network.module, features, images)
    stored = _Activation()
    activation = trace.outputs[layer.name][0]
    _replace(network.module, layer.name, trace, stored)
    top = Top(features, stored, tuple(activation.shape[1:]), size)
    _check(top, activation.flatten(1), expected, layer)
    return layer, top, network.module


class _Trace(NamedTuple):
    """When each module finished, and what it returned in each call."""

    ends: dict[str, int]
    outputs: dict[str, list[Any]]


def _trace(
    network: torch.nn.Module, features: torch.nn.Module, images: torch.Tensor
) -> tuple[_Trace, torch.Tensor]:
    """Run a network once; return the trace of its modules and the features."""
    trace = _Trace({}, {})

    def record(name: str, out: object) -> None:
        trace.ends[name] = len(trace.ends) + sum(map(len, trace.outputs.values()))
        trace.outputs.setdefault(name, []).append(out)

    with watched(network, record), torch.no_grad():
        expected = features.eval()(images)
    return trace, expected


def _replace(
    network: torch.nn.Module, boundary: str, trace: _Trace, activation: _Activation
) -> None:
    """Replace the boundary, and all modules that have finished when it ends, by stand-ins."""
    replaced: list[str] = []
    ends = trace.ends
    for name in [name for name, _ in network.named_modules() if name]:
        if any(name.startswith(f"{parent}.") for parent in replaced):
            continue
        if name not in ends or ends[name] > ends[boundary]:
            continue
        parent, _, child = name.rpartition(".")
        holder = network.get_submodule(parent)
        original = holder._modules[child]
        assert original is not None
        holder._modules[child] = (
            _Boundary(activation)
            if name == boundary
            else _StandIn(original, trace.outputs[name], activation)
        )
        replaced.append(name)


def _check(top: Top, activation: torch.Tensor, expected: torch.Tensor, layer: Layer) -> None:
    """Check that the top gives the network's features, and freeze what training does not reach."""
    top.eval()
    with torch.enable_grad():
        got = top(torch.cat([activation, activation[:1]]))  # three images; the trace had two
        error = float((got[:2].detach() - expected).abs().max())
        if not error <= MAX_ERROR * float(expected.abs().max()):
            raise BackboneError(
                f"a connection of the network bypasses layer {layer.name}, so it cannot be divided "
                "there; choose another --from"
            )
        if got.requires_grad:
            got.sum().backward()
    for parameter in top.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    if not any(parameter.requires_grad for parameter in top.parameters()):
        raise BackboneError(
            f"no parameter can be trained behind layer {layer.name}; choose an earlier --from, or "
            "--mode head"
        )


def _zeros_like(output: Any, activation: _Activation) -> Any:  # noqa: ANN401
    """Return zeros for the images of the activation, shaped like an output for two images."""
    if isinstance(output, torch.Tensor):
        value = activation.value
        assert value is not None
        if output.dim() == 0 or output.shape[0] % 2:
            return output.to(value.device)
        shape = (output.shape[0] * len(value) // 2, *output.shape[1:])
        return value.new_zeros((), dtype=output.dtype).expand(shape)
    if isinstance(output, tuple | list):
        return type(output)(_zeros_like(part, activation) for part in output)
    return output
