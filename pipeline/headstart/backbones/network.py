"""A built network: its module, its preprocessing, and where its features can be taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart.backbones import layers
from headstart.core.records import Preprocess

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

    def cut(self, positions: Sequence[tuple[layers.Layer, str] | None]) -> torch.nn.Module:
        """Return a module to the features of layers: one matrix, or a tuple of several.

        Args:
            positions: layers with their poolings; None is what the classifier gets.
        """
        run = self.headless() if None in positions else None
        taps = [
            layers.tap(self.module, *position) if position else layers.own_output()
            for position in positions
        ]
        return layers.cut(self.module, taps, run)
