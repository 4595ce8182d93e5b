"""A chosen network: what is known before it is loaded, and how it is built and described."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart.backbones import layers, weights
from headstart.backbones.catalogue import Entry
from headstart.backbones.network import Network
from headstart.backbones.onnx_import.recipe import Recipe
from headstart.backbones.provider import Provider
from headstart.core.errors import BackboneError, HeadstartError, one_line
from headstart.core.records import Backbone, Part, Preprocess
from headstart.core.torchvision_import import import_torch
from headstart.datasets.images.geometry import proportioned

if TYPE_CHECKING:
    import torch

SOFTWARE = ("torch", "torchvision", "timm", "onnx", "onnxscript")
"""The distributions whose versions are part of the identity of every export."""

_WIDER = 8 / 7  # side of the images of the quality best, by the network's own, at least


@dataclass(frozen=True)
class Candidate:
    """A network with its weights, as the user chose it, on this machine but not loaded.

    ``layer`` and ``pool`` are as the user spelt them; ``layers`` are several layers in place of
    one. An empty string means the default. ``A+B`` is one layer: the features of A and B side by
    side, each scaled to norm 1. A ``quality`` adds a wider view of each image. ``whole`` shows
    images at their own proportions; ``size`` is the height and width of the network's input, if it
    is not its own. A ``recipe`` says how images are prepared for weights of the user's.
    """

    provider: Provider
    entry: Entry
    weights: weights.Weights
    layer: str = ""
    pool: str = ""
    layers: tuple[str, ...] = ()
    value_range: str = ""
    colour: str = ""
    policy: int = 0
    quality: str = ""
    size: tuple[int, int] | None = None
    whole: bool = False
    recipe: Recipe | None = None

    @property
    def name(self) -> str:
        """The entry's name, with a suffix if the weights are not the published ones."""
        return self.entry.name + self.weights.suffix

    @property
    def weights_size(self) -> int:
        """Bytes of its weights in fp32 or in their file, whichever is more; 0 if unknown."""
        return max(4 * (self.entry.parameters or 0), self.weights.size)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the exported file, known without loading the network."""
        document: dict[str, Any] = {
            "name": self.name,
            "weights": self.weights.sha256,
            "layer": self.layer,
            "pool": self.pool,
        }
        if self.layers:
            document["layers"] = sorted(self.layers)
        if self.quality:
            document["quality"] = self.quality
        if self.size:
            document["size"] = self.size
        if self.whole:
            document["whole"] = True
        if self.recipe:
            document["recipe"] = self.recipe.to_json()
        others = [name for name in self.provider.packages if name not in SOFTWARE]
        if not others:
            return document
        from importlib.metadata import version  # loads a parser of e-mail

        return document | {name: version(name) for name in others}

    def load(self) -> tuple[torch.nn.Module, Backbone]:
        """Return a module from ``(n, 3, h, w)`` to ``(n, d)`` features, and its description.

        With several layers the module returns a tuple of features, in the order of computation.
        """
        network = self.build()
        sha256 = self.weights.sha256 or weights.fingerprint(network.module)
        network = self._sized(network)
        preprocess = network.preprocess
        if self.layer or self.pool or self.layers:
            module, named = self._cut(network)
        else:
            module, named = network.headless(), [self.provider.own_layer]
        if self.quality:
            module, preprocess = self._viewed(module, preprocess)
        dims = _features(module, preprocess.size)
        parts = [Part(*of, dim) for of, dim in zip(named, dims, strict=True)]
        backbone = Backbone(
            name=self.name,
            source=self._source,
            weights_sha256=sha256,
            licence=self.entry.licence or "unknown",
            layer="",
            pool="",
            precision="fp32",
            dim=0,
            mean=network.mean,
            std=network.std,
            preprocess=preprocess,
            order=network.order,
        ).with_layers(parts)
        return module, backbone

    def _prepared(self, network: Network) -> Network:
        """Return a network that takes images as the user says, in place of its library."""
        recipe = self.recipe
        if recipe is None:
            return network
        if recipe.layout == "NHWC":
            raise BackboneError(
                "--preprocess: the layout of a network by name is known; leave it out"
            )
        sized = dataclasses.replace(recipe, size=recipe.size or network.preprocess.size)
        preprocess = dataclasses.replace(
            sized.preprocess(),
            own_size=recipe.size in (None, network.preprocess.size),
            own_values=False,
        )
        return dataclasses.replace(
            network,
            preprocess=preprocess,
            mean=recipe.red_first(recipe.mean),
            std=recipe.red_first(recipe.std),
            order=recipe.order,
        )

    def _sized(self, network: Network) -> Network:
        """Return a network that takes images of the size and of the proportions that are wanted."""
        own = network.preprocess
        preprocess = own if self.size is None else _of_size(own, self.size)
        if self.whole:
            preprocess = dataclasses.replace(preprocess, resize=preprocess.size, fit="whole")
        if preprocess == own:
            return network
        self._check_size(network, preprocess.size)
        if self.whole:
            for sides in ((2, 1), (3, 4)):
                self._check_shape(network, proportioned(*sides, preprocess.size))
        return dataclasses.replace(network, preprocess=preprocess)

    def _check_size(self, network: Network, size: tuple[int, int]) -> None:
        """Run a network on an image of the size that is wanted, adapted to it if need be."""
        try:
            try:
                _run(network.module, size)
            except Exception:  # libraries raise anything
                if network.resize is None:
                    raise
                network.resize(size)
                _run(network.module, size)
        except Exception as error:  # likewise
            raise BackboneError(
                f"{one_line(self.name)} does not take images of {_shown(size)} "
                f"({one_line(error)[:120]}); leave --size out for its own "
                f"{_shown(network.preprocess.size)}"
            ) from error

    def _check_shape(self, network: Network, shape: tuple[int, int]) -> None:
        """Run a network on an image of other proportions than its own."""
        try:
            _run(network.module, shape)
        except Exception as error:  # libraries raise anything
            raise BackboneError(
                f"{one_line(self.name)} takes images of one shape only; leave --fit whole out, or "
                "use --fit pad or squash"
            ) from error

    def _viewed(
        self, module: torch.nn.Module, own: Preprocess
    ) -> tuple[torch.nn.Module, Preprocess]:
        """Return a module to the features of two views, and the preprocessing for both."""
        preprocess = _whole(own, self.quality)
        viewed = layers.viewed(module, own.size)
        try:
            _features(viewed, preprocess.size)
        except Exception as error:  # libraries raise anything
            raise BackboneError(
                f"{one_line(self.name)} takes images of one size only; leave --quality out"
            ) from error
        return viewed, preprocess

    def _cut(self, network: Network) -> tuple[torch.nn.Module, list[tuple[str, str]]]:
        """Return a module to the features of the requested layers, and their names and poolings."""
        every = network.list_layers()
        if layers.JOIN in self.layer and self.layer not in [layer.name for layer in every]:
            return self._joined(network)
        requested: dict[tuple[str, str], tuple[layers.Layer, str] | None] = {}
        for name in self.layers or (self.layer,):
            chosen = layers.choose(every, name, self.pool) if name or self.pool else None
            key = (chosen[0].name, chosen[1]) if chosen else self.provider.own_layer
            if key in requested:
                raise BackboneError(
                    f"--layer {layers.PRE_LOGITS} is {one_line(key[0])} in this network; give each "
                    "layer once"
                )
            requested[key] = chosen
        order = {layer.name: number for number, layer in enumerate(every)}
        named = sorted(requested, key=lambda key: order.get(key[0], len(order)))
        return network.cut([requested[key] for key in named]), named

    def _joined(self, network: Network) -> tuple[torch.nn.Module, list[tuple[str, str]]]:
        """Return a module to the features of ``A+B``, as one layer."""
        names = ["" if n == layers.PRE_LOGITS else n for n in self.layer.split(layers.JOIN)]
        if len(set(names)) < len(names):
            raise BackboneError(f"{one_line(self.layer)} repeats a layer; name each layer once")
        several = dataclasses.replace(self, layer="", layers=tuple(names))
        module, named = several._cut(network)
        pools = {pool for _, pool in named}
        pool = pools.pop() if len(pools) == 1 else self.pool
        return layers.joined(module), [(layers.JOIN.join(name for name, _ in named), pool)]

    def build(self) -> Network:
        """Build the library's network with its weights; every failure is a `BackboneError`."""
        try:
            import_torch()
        except HeadstartError as error:
            raise BackboneError(
                f"{error}; or export {self.name} elsewhere with headstart export, and give that "
                "file as the backbone"
            ) from error
        try:
            network = self._prepared(self.provider.build(self.entry, self.weights))
            preprocess = dataclasses.replace(
                network.preprocess,
                value_range=self.value_range,
                colour=self.colour,
                policy=self.policy or network.preprocess.policy,
            )
            return dataclasses.replace(network, preprocess=preprocess)
        except HeadstartError:
            raise
        except Exception as error:  # libraries raise anything on unexpected files
            file = "" if self.weights.path is None else f" with {one_line(self.weights.path)}"
            raise BackboneError(
                f"{self.name} cannot be built{file}: {type(error).__name__}: "
                f"{one_line(error)[:200]}"
            ) from error

    @property
    def library(self) -> str:
        """The library that builds the network."""
        return self.provider.library or (self.provider.packages or (self.provider.prefix,))[0]

    @property
    def _source(self) -> str:
        built = f"{self.entry.architecture} of {self.library}"
        if self.weights.path is None:
            return f"random weights, seed {self.weights.seed}: never trained ({built})"
        if not self.weights.published:
            return f"weights from a file of the user's ({built})"
        return self.entry.url if " " in self.entry.url else f"{self.entry.url} ({built})"


def _whole(own: Preprocess, quality: str) -> Preprocess:
    """Return a preprocessing to the whole square in the middle of which a network's crop lies."""
    squash = isinstance(own.resize, tuple)
    resize = own.resize if isinstance(own.resize, tuple) else (own.resize, own.resize)
    height, width = (
        max(side, round(crop * _WIDER)) for side, crop in zip(resize, own.size, strict=True)
    )
    crop = height if height == width else (height, width)
    resized = (height, width) if squash else max(height, width)
    return dataclasses.replace(own, resize=resized, crop=crop, quality=quality)


def _of_size(own: Preprocess, size: tuple[int, int]) -> Preprocess:
    """Return a preprocessing to another size, of which as large a part is cropped."""
    if size == own.size:
        return own

    def scaled(resize: int, axis: int) -> int:
        return max(size[axis], round(resize * size[axis] / own.size[axis]))

    if isinstance(own.resize, tuple):
        resize: int | tuple[int, int] = scaled(own.resize[0], 0), scaled(own.resize[1], 1)
    else:
        resize = max(scaled(own.resize, 0), scaled(own.resize, 1))
    crop = size[0] if size[0] == size[1] else size
    return dataclasses.replace(own, resize=resize, crop=crop, own_size=False)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _run(module: torch.nn.Module, size: tuple[int, int]) -> Any:  # noqa: ANN401 - its outputs
    import torch

    with torch.inference_mode():
        return module(torch.zeros(1, 3, *size))


def _features(module: torch.nn.Module, size: tuple[int, int]) -> list[int]:
    """Return the number of features of each output."""
    outputs = _run(module, size)
    shapes = [out.shape for out in (outputs if isinstance(outputs, tuple) else (outputs,))]
    for shape in shapes:
        if len(shape) != 2:
            raise BackboneError(
                f"the network gives {tuple(shape[1:])} for an image, not a vector; choose a --layer"
                " and a --pool"
            )
    return [int(shape[1]) for shape in shapes]
