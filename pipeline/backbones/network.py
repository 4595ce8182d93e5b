"""A chosen network: what is known before it is loaded, and how it becomes module and description.

What the providers have in common is here, so that each of them only says what there is and how its
library builds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.backbones import layers, weights
from pipeline.backbones.catalogue import Entry
from pipeline.errors import BackboneError, HeadstartError, one_line
from pipeline.records import Backbone, Preprocess

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
    """

    module: torch.nn.Module
    headless: Callable[[], torch.nn.Module]
    preprocess: Preprocess
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Candidate:
    """A network with its weights, as the user chose it, on this machine but not loaded.

    Attributes:
        provider: the module that builds it.
        entry: the network.
        weights: its weights.
        layer: the layer, as the user spelt it; empty is the default.
        pool: the pooling, likewise.
    """

    provider: ModuleType
    entry: Entry
    weights: weights.Weights
    layer: str = ""
    pool: str = ""

    @property
    def name(self) -> str:
        """The backbone's name: the entry's, and whose weights it has if not the published."""
        return self.entry.name + self.weights.suffix

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what an export would give, known without loading the network."""
        return {
            "name": self.name,
            "weights": self.weights.sha256,
            "layer": self.layer,
            "pool": self.pool,
        }

    def load(self) -> tuple[torch.nn.Module, Backbone]:
        """Build it: ``(n, 3, h, w)`` to ``(n, d)`` features, and its description.

        Raises:
            BackboneError: the weights do not fit, or there is no such layer or pooling.
        """
        network = self.build()
        if self.layer or self.pool:
            found = layers.list_layers(network.module, network.preprocess.size)
            layer, pool = layers.choose(found, self.layer, self.pool)
            module, layer_name = layers.cut(network.module, layer, pool), layer.name
        else:
            module = network.headless()
            layer_name, pool = self._own_layer
        backbone = Backbone(
            name=self.name,
            source=self._source,
            weights_sha256=self.weights.sha256 or weights.fingerprint(network.module),
            licence=self.entry.licence or "unknown",
            layer=layer_name,
            pool=pool,
            precision="fp32",
            dim=_features(module, network.preprocess.size),
            mean=network.mean,
            std=network.std,
            preprocess=network.preprocess,
        )
        return module, backbone

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


def _features(module: torch.nn.Module, size: tuple[int, int]) -> int:
    import torch

    with torch.inference_mode():
        shape = module(torch.zeros(1, 3, *size)).shape
    if len(shape) != 2:
        raise BackboneError(
            f"the network gives {tuple(shape[1:])} for an image, not a vector; choose a --layer "
            "and a --pool"
        )
    return int(shape[1])
