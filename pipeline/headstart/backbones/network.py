"""A chosen network: what is known before it is loaded, and how it becomes module and description.

What the providers have in common is here, so that each of them only says what there is and how its
library builds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headstart.backbones import layers, weights
from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError, HeadstartError, one_line
from headstart.core.records import Backbone, Part, Preprocess

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Network:
    """What a provider builds.

    Attributes:
        module: the library's network, ``(n, 3, h, w)`` normalised; its modules name the layers.
        headless: returns a module to the ``(n, d)`` features that the classifier gets.
        preprocess: what comes before the normalisation.
        mean: per-channel mean on the 0…1 scale.
        std: per-channel standard deviation on the 0…1 scale.
        order: the channels that the modules take, ``RGB`` or ``BGR``; turned after normalisation,
            so mean and deviation are red first all the same.
    """

    module: torch.nn.Module
    headless: Callable[[], torch.nn.Module]
    preprocess: Preprocess
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: str = "RGB"

    def list_layers(self) -> list[layers.Layer]:
        """Return every layer that can be named, in the order in which the network computes them."""
        return layers.list_layers(self.module, self.preprocess.size)

    def cut(self, at: Sequence[tuple[layers.Layer, str] | None]) -> torch.nn.Module:
        """Return a module to the features of layers: one matrix, or a tuple of several.

        Args:
            at: layers with their poolings; None is what the classifier gets.
        """
        run = self.headless() if None in at else None
        taps = [layers.tap(self.module, *one) if one else layers.own_output() for one in at]
        return layers.cut(self.module, taps, run)


@dataclass(frozen=True)
class Candidate:
    """A network with its weights, as the user chose it, on this machine but not loaded.

    Attributes:
        provider: the module that builds it.
        entry: the network.
        weights: its weights.
        layer: the layer, as the user spelt it; empty is the default.
        pool: the pooling, likewise.
        layers: several layers in place of one; an empty one is the default.
    """

    provider: ModuleType
    entry: Entry
    weights: weights.Weights
    layer: str = ""
    pool: str = ""
    layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The backbone's name: the entry's, and whose weights it has if not the published."""
        return self.entry.name + self.weights.suffix

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what an export would give, known without loading the network."""
        several: dict[str, Any] = {"layers": sorted(self.layers)} if self.layers else {}
        if hasattr(self.provider, "EXTRA"):  # the versions of all others are in every export's
            several |= {name: version(name) for name in self.provider.VERSIONED}
        return {
            "name": self.name,
            "weights": self.weights.sha256,
            "layer": self.layer,
            "pool": self.pool,
        } | several

    def load(self) -> tuple[torch.nn.Module, Backbone]:
        """Build it: ``(n, 3, h, w)`` to ``(n, d)`` features, and its description.

        With several layers the module returns a tuple of features, in the order in which the
        network computes them.

        Raises:
            BackboneError: the weights do not fit, or there is no such layer or pooling.
        """
        network = self.build()
        size = network.preprocess.size
        if self.layer or self.pool or self.layers:
            module, named = self._cut(network)
        else:
            module, named = network.headless(), [self._own_layer]
        parts = [Part(*of, dim) for of, dim in zip(named, _features(module, size), strict=True)]
        backbone = Backbone(
            name=self.name,
            source=self._source,
            weights_sha256=self.weights.sha256 or weights.fingerprint(network.module),
            licence=self.entry.licence or "unknown",
            layer="",
            pool="",
            precision="fp32",
            dim=0,
            mean=network.mean,
            std=network.std,
            preprocess=network.preprocess,
            order=network.order,
        ).together(parts)
        return module, backbone

    def _cut(self, network: Network) -> tuple[torch.nn.Module, list[tuple[str, str]]]:
        """Return the module of the wanted layers' features, and their names and poolings."""
        found = network.list_layers()
        wanted: dict[tuple[str, str], tuple[layers.Layer, str] | None] = {}
        for name in self.layers or (self.layer,):
            chosen = layers.choose(found, name, self.pool) if name or self.pool else None
            at = (chosen[0].name, chosen[1]) if chosen else self._own_layer
            if at in wanted:
                raise BackboneError(
                    f"--layer {layers.PRE_LOGITS} is {one_line(at[0])} here; give each layer once"
                )
            wanted[at] = chosen
        order = {layer.name: number for number, layer in enumerate(found)}
        named = sorted(wanted, key=lambda at: order.get(at[0], len(order)))
        return network.cut([wanted[at] for at in named]), named

    def build(self) -> Network:
        """Build the library's network with its weights.

        Raises:
            BackboneError: the library cannot, or the weights do not fit.
        """
        try:
            network: Network = self.provider.build(self.entry, self.weights)
        except HeadstartError:
            raise
        except Exception as error:  # a library on a file that it does not expect, or without memory
            given = "" if self.weights.path is None else f" with {one_line(self.weights.path)}"
            raise BackboneError(
                f"{self.name} cannot be built{given}: {type(error).__name__}: "
                f"{one_line(error)[:200]}"
            ) from error
        return network

    @property
    def _own_layer(self) -> tuple[str, str]:
        own: tuple[str, str] = getattr(self.provider, "OWN_LAYER", (layers.PRE_LOGITS, layers.OWN))
        return own

    @property
    def _source(self) -> str:
        built = f"{self.entry.architecture} of {self.provider.VERSIONED[0]}"
        if self.weights.path is None:
            return f"random weights, seed {self.weights.seed}: never trained ({built})"
        if not self.weights.published:
            return f"weights from a file of the user's ({built})"
        return self.entry.url if " " in self.entry.url else f"{self.entry.url} ({built})"


def _features(module: torch.nn.Module, size: tuple[int, int]) -> list[int]:
    """Return how many features each of a module's outputs has."""
    import torch

    with torch.inference_mode():
        given = module(torch.zeros(1, 3, *size))
    shapes = [out.shape for out in (given if isinstance(given, tuple) else (given,))]
    for shape in shapes:
        if len(shape) != 2:
            raise BackboneError(
                f"the network gives {tuple(shape[1:])} for an image, not a vector; choose a --layer"
                " and a --pool"
            )
    return [int(shape[1]) for shape in shapes]
