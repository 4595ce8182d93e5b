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
    """A network that a provider built.

    Attributes:
        module: takes normalised ``(n, 3, h, w)``; its submodules name the layers.
        headless: returns a module to the ``(n, d)`` features that the classifier reads.
        preprocess: what comes before the normalisation.
        mean: of each channel on the 0…1 scale, red first; ``std`` likewise.
        order: the channels that the module takes, ``RGB`` or ``BGR``; they are reversed after the
            normalisation, so ``mean`` and ``std`` are red first in both cases.
        resize: makes the module take images of a height and width that it refuses as it is; a
            `BackboneError` says which it cannot take, and None that there is no such way.
    """

    module: torch.nn.Module
    headless: Callable[[], torch.nn.Module]
    preprocess: Preprocess
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: str = "RGB"
    resize: Callable[[tuple[int, int]], None] | None = None

    def list_layers(self) -> list[layers.Layer]:
        """Return every layer that can be named, in the order of computation."""
        return layers.list_layers(self.module, self.preprocess.size)

    def cut(self, positions: Sequence[tuple[layers.Layer, str] | None]) -> torch.nn.Module:
        """Return a module to the features of layers: one matrix, or a tuple of several.

        A position is a layer with its pooling, or None for what the classifier reads.
        """
        run = self.headless() if None in positions else None
        own = layers.Tap("", lambda out: out)  # a headless network's output is (n, d) already
        free = self.preprocess.fit == "whole"
        taps = [layers.tap(self.module, *where, free) if where else own for where in positions]
        return layers.cut(self.module, taps, run)
