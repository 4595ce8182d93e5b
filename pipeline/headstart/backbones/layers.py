"""Cut a torch network at one of its layers, and pool the output.

A layer has the name of its module, as the library spells it (``layer3``, ``features.8``,
``blocks.11``). Further calls of the same module are ``NAME_1`` and so on, as in torchvision's
feature extraction. `PRE_LOGITS` stands for what the library's own classifier reads. The exported
graph leaves out what is behind the layer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from headstart.core.choices import POOLS
from headstart.core.errors import BackboneError, near_matches, one_line

if TYPE_CHECKING:
    import torch

PRE_LOGITS = "pre-logits"
JOIN = "+"  # between layers whose features are put side by side
OWN = "own"  # the pooling that the network itself does before its classifier
GEM_POWER = 3.0
_MOST_BLOCKS, _LAST_BLOCKS = 10, 4  # to try; of more of equal size
CLASSED = ("cls", "cls+avg")  # poolings that need a class token


@dataclass(frozen=True)
class Layer:
    """The output of one module for one image.

    Attributes:
        shape: without the batch.
        layout: ``chw`` or ``hwc`` maps, ``tokens`` (t, c), or ``vector``.
        prefix: number of leading tokens that are not patches: class and register tokens.
        classed: whether the first of them is a class token.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    prefix: int = 0
    classed: bool = False

    @property
    def is_map(self) -> bool:
        """Whether there is more than one place to pool over."""
        return {
            "chw": self.shape[-2:] != (1, 1),
            "hwc": self.shape[:2] != (1, 1),
            "tokens": self.shape[0] > 1,
        }.get(self.layout, False)

    def dim(self, pool: str) -> int:
        """Return the number of features after pooling."""
        if pool == "flatten" or self.layout == "vector":
            return math.prod(self.shape)
        channels = self.shape[0] if self.layout == "chw" else self.shape[-1]
        return 2 * channels if pool == "cls+avg" else channels


def list_layers(network: torch.nn.Module, size: tuple[int, int]) -> list[Layer]:
    """Return every layer that can be named, in the order of computation.

    ``network`` takes ``(n, 3, h, w)``; ``size`` is the height and width of its input.
    """
    import torch

    layers: list[Layer] = []
    calls: Counter[str] = Counter()

    def note(name: str, out: object) -> None:
        call = calls[name]
        calls[name] += 1
        if isinstance(out, torch.Tensor) and out.dim() in (2, 3, 4) and len(out) == 1:
            shape = tuple(out.shape[1:])
            layers.append(layer_of(network, f"{name}_{call}" if call else name, shape, size))

    with watched(network, note), torch.inference_mode():
        network(torch.zeros(1, 3, *size))
    return layers


class LayerList(NamedTuple):
    """The layers of a network, in the order of computation.

    ``default`` is the name of the layer, or ``A+B``, that is taken if the user names none, and
    ``worth_trying`` are the layers to compare it with, the deepest first.
    """

    layers: list[Layer]
    default: str
    worth_trying: list[Layer]


def without_emptied(network: torch.nn.Module, layers: list[Layer]) -> list[Layer]:
    """Leave out a classifier that the library took away: an identity, so a layer named twice."""
    last = dict(network.named_modules()).get(layers[-1].name)
    return layers[:-1] if type(last).__name__ == "Identity" else layers


def worth_trying(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers to compare with the default, the deepest first.

    These are the stages or blocks: numbered modules that together hold half of the layers or more.
    A network without such has the last maps of every size, and one with many blocks the last of
    every size, or the last ones of equal size.
    """
    blocks = _blocks(layers)
    if len(blocks) <= _MOST_BLOCKS:
        return blocks or _last_of_each_size(layers)
    last = {_places(layer): layer for layer in reversed(blocks)}
    return list(last.values())[::-1] if len(last) > 1 else blocks[:_LAST_BLOCKS]


def _blocks(layers: Sequence[Layer]) -> list[Layer]:
    """Return the numbered modules that hold half of the layers or more, the deepest first."""
    groups: dict[str, list[Layer]] = {}
    inside: Counter[str] = Counter()
    for layer in layers:
        parts = layer.name.split(".")
        paths = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        inside.update({path.rstrip("0123456789") for path in paths[:-1] if path[-1:].isdecimal()})
        if layer.is_map and parts[-1][-1:].isdecimal():
            groups.setdefault(layer.name.rstrip("0123456789"), []).append(layer)
    stem = max(groups, key=lambda stem: inside[stem], default="")
    return groups[stem][::-1] if stem and 2 * inside[stem] >= len(layers) else []


def _places(layer: Layer) -> tuple[int, ...]:
    return layer.shape[1:] if layer.layout == "chw" else layer.shape[:-1]


def _last_of_each_size(layers: Sequence[Layer]) -> list[Layer]:
    """Return the last maps or tokens of every size, by their simplest name, the deepest first."""
    last: dict[tuple[int, ...], Layer] = {}
    for layer in reversed(layers):
        if not layer.is_map:
            continue
        places = _places(layer)
        deepest = last.setdefault(places, layer)
        # Several modules may give the same last maps; the outermost has the simplest name.
        if layer.shape == deepest.shape and deepest.name.startswith(f"{layer.name}."):
            last[places] = layer
    return list(last.values())


@contextmanager
def watched(network: torch.nn.Module, note: Callable[[str, object], None]) -> Iterator[None]:
    """Call ``note`` with the name and the output of every module that finishes."""
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: note(name, out))
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def choose(layers: list[Layer], name: str, pool: str) -> tuple[Layer, str]:
    """Return the layer and the pooling that a user means.

    An empty ``name`` means the last layer that ``pool`` can work on. An empty ``pool`` means the
    average, or none for a vector.

    Raises:
        BackboneError: there is no such layer, or it cannot be pooled that way.
    """
    if name:
        layer = named(layers, name)
    else:
        classed = pool in CLASSED
        fitting = [layer for layer in layers if layer.is_map and (layer.classed or not classed)]
        if not fitting:
            raise BackboneError(f"this network has no layer for --pool {pool}; leave it out")
        # Several modules may give the same last maps; the outermost has the simplest name.
        last = [layer for layer in fitting if layer.shape == fitting[-1].shape]
        layer = min(reversed(last), key=lambda layer: layer.name.count("."))
    pool = pool or ("flatten" if layer.layout == "vector" else "avg")
    if pool not in POOLS:
        raise BackboneError(f"no pooling {one_line(pool)!r}; use one of: {', '.join(POOLS)}")
    if layer.layout == "vector" and pool != "flatten":
        raise BackboneError(f"layer {layer.name} is a vector already; leave --pool out")
    if pool in CLASSED and not layer.classed:
        raise BackboneError(f"layer {layer.name} has no class token; use --pool avg")
    return layer, pool


def named(layers: list[Layer], name: str) -> Layer:
    """Return the layer of that name; a `BackboneError` if there is none."""
    by_name = {layer.name: layer for layer in layers}
    if name not in by_name:
        raise BackboneError(
            f"no layer {one_line(name)!r}; {near_matches(name, by_name)}"
            "see: headstart backbones NAME --layers"
        )
    return by_name[name]


@dataclass(frozen=True)
class Tap:
    """Where features are taken, and how they become ``(n, d)``.

    Attributes:
        module: full name; empty means the network's own output.
        pooling: from the tensor there to ``(n, d)``.
        call: which call of the module, from 0.
        entering: whether to take the module's input in place of its output.
    """

    module: str
    pooling: Callable[[torch.Tensor], torch.Tensor]
    call: int = 0
    entering: bool = False


def tap(network: torch.nn.Module, layer: Layer, pool: str, free: bool = False) -> Tap:
    """Return the tap of a layer that `choose` returned; ``free`` if sizes of images differ.

    Raises:
        BackboneError: there would be a different number of features for each size.
    """
    name, call = _target(network, layer.name)
    if free and pool == "flatten" and layer.is_map:
        raise BackboneError(
            f"layer {layer.name}, flattened, has more features for larger images, so --fit whole "
            "cannot be; use --pool avg"
        )
    return Tap(name, _pooled_freely(layer, pool) if free else pooled(layer, pool), call)


def cut(
    network: torch.nn.Module, taps: Sequence[Tap], run: torch.nn.Module | None = None
) -> torch.nn.Module:
    """Return a module from ``(n, 3, h, w)`` to the features of one tap, or a tuple of several.

    ``run`` is the module to run if that is not ``network`` itself but contains it.
    """
    import torch

    taken: list[list[torch.Tensor]] = [[] for _ in taps]

    def listen(tap_: Tap, seen: list[torch.Tensor]) -> None:
        module = network.get_submodule(tap_.module)
        if tap_.entering:
            module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
        else:
            module.register_forward_hook(lambda _m, _i, out: seen.append(out))

    for tap_, seen in zip(taps, taken, strict=True):
        if tap_.module:
            listen(tap_, seen)

    class Cut(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = run or network

        def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            for seen in taken:
                seen.clear()
            out = self.network(image)
            features = tuple(
                tap_.pooling(seen[tap_.call] if tap_.module else out)
                for tap_, seen in zip(taps, taken, strict=True)
            )
            for seen in taken:
                seen.clear()
            return features if len(features) > 1 else features[0]

    return Cut().eval()


def joined(several: torch.nn.Module) -> torch.nn.Module:
    """Return a module that puts the features of several taps side by side, each of norm 1."""
    import torch

    class Joined(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.several = several

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return _side_by_side(self.several(image))

    return Joined().eval()


def viewed(module: torch.nn.Module, size: tuple[int, int]) -> torch.nn.Module:
    """Return a module to the features of an image beside those of its middle, each of norm 1.

    ``size`` is the height and width of the middle. Of several layers it does so with each.
    """
    import torch

    class Viewed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            height, width = size
            top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
            middle = image[:, :, top : top + height, left : left + width]
            views = self.module(image), self.module(middle)
            if isinstance(views[0], tuple):
                return tuple(_side_by_side(parts) for parts in zip(*views, strict=True))
            return _side_by_side(views)

    return Viewed().eval()


def _side_by_side(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([torch.nn.functional.normalize(part, dim=1) for part in parts], dim=1)


def pooled(layer: Layer, pool: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the pooling of a layer's output ``(n, *shape)`` to ``(n, d)``.

    ``cls`` is the class token, ``cls+avg`` that token beside the average of the patches. ``gem`` is
    the generalised mean of Radenović et al. (2018) with power 3, of activations raised to at least
    1e-6. For tokens, ``avg``, ``max`` and ``gem`` skip class and register tokens.
    """
    import torch

    def places(out: torch.Tensor) -> torch.Tensor:  # (n, places, c)
        if layer.layout == "chw":
            return out.flatten(2).transpose(1, 2)
        if layer.layout == "hwc":
            return out.flatten(1, 2)
        return out[:, layer.prefix :]

    match pool:
        case "flatten":
            return lambda out: out.flatten(1)
        case "avg":
            return lambda out: places(out).mean(1)
        case "max":
            return lambda out: places(out).amax(1)
        case "gem":
            return lambda out: places(out).clamp(min=1e-6).pow(GEM_POWER).mean(1).pow(1 / GEM_POWER)
        case "cls":
            return lambda out: out[:, 0]
        case "cls+avg":
            return lambda out: torch.cat([out[:, 0], places(out).mean(1)], 1)
    raise AssertionError(pool)


def _pooled_freely(layer: Layer, pool: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return `pooled` without the sides of the maps, which an exported graph would keep."""
    axes = (2, 3) if layer.layout == "chw" else (1, 2)
    if layer.layout not in ("chw", "hwc") or pool not in ("avg", "max", "gem"):
        return pooled(layer, pool)
    if pool == "max":
        return lambda out: out.amax(axes)
    if pool == "avg":
        return lambda out: out.mean(axes)
    return lambda out: out.clamp(min=1e-6).pow(GEM_POWER).mean(axes).pow(1 / GEM_POWER)


def classifier_of(network: torch.nn.Module, classes: int) -> str:
    """Return the name of the last linear or convolutional module with one output per class."""
    names: list[str] = [
        name
        for name, module in network.named_modules()
        if classes in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))
    ]
    if not names:
        raise BackboneError(f"the network has no classifier of {classes} classes to cut off")
    return names[-1]


def before(network: torch.nn.Module, classifier: str) -> torch.nn.Module:
    """Return a module from ``(n, 3, h, w)`` to what the classifier reads, as ``(n, d)``.

    A fully convolutional classifier averages the scores of all places; its input is averaged here.
    """
    return cut(network, [Tap(classifier, _averaged, entering=True)])


def _averaged(features: torch.Tensor) -> torch.Tensor:
    return features.mean((2, 3)) if features.dim() == 4 else features.flatten(1)


def layer_of(
    network: torch.nn.Module, name: str, shape: tuple[int, ...], size: tuple[int, int]
) -> Layer:
    """Describe an output of a network for images of ``size``; ``shape`` is without the batch."""
    if len(shape) == 3:
        channels_last = getattr(network, "output_fmt", "") == "NHWC"
        return Layer(name, shape, map_layout(shape, size, "hwc" if channels_last else "chw"))
    if len(shape) == 1:
        return Layer(name, shape, "vector")
    classed = any(
        getattr(network, token, None) is not None for token in ("cls_token", "class_token")
    )
    most = int(getattr(network, "num_prefix_tokens", 1 if classed else 0) or 0)
    tokens = shape[0]
    # Networks that add the class token late have the patches alone in their first layers.
    prefix = most if _is_grid(tokens - most, size) or not _is_grid(tokens, size) else 0
    prefix = prefix if tokens > prefix else 0
    return Layer(name, shape, "tokens", prefix, classed and prefix > 0)


def map_layout(shape: tuple[int, ...], size: tuple[int, int], otherwise: str) -> str:
    """Tell ``chw`` from ``hwc``: maps keep the proportions of the input, ``size``.

    ``otherwise`` is the answer where that does not decide, as with as many channels as pixels.
    """

    def fits(height: int, width: int) -> bool:
        return abs(height * size[1] - width * size[0]) < max(size)

    first, last = fits(shape[1], shape[2]), fits(shape[0], shape[1])
    if first == last:
        return otherwise
    return "chw" if first else "hwc"


def _is_grid(patches: int, size: tuple[int, int]) -> bool:
    """Say whether so many square patches can cover an image of that height and width."""
    height, width = size
    rows = math.isqrt(max(0, patches) * height // width)
    return rows > 0 and rows * (rows * width // height) == patches and rows * width % height == 0


def _target(network: torch.nn.Module, name: str) -> tuple[str, int]:
    """Split ``NAME_2`` into the name of the module and the number of its call."""
    modules = dict(network.named_modules())
    if name in modules:
        return name, 0
    module, _, call = name.rpartition("_")
    return module, int(call)
