"""Pretrained networks by name. One small file a provider; each imports its library when used."""

from __future__ import annotations

import dataclasses
import difflib
import json
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pipeline.backbones import bundled
from pipeline.errors import BackboneError, one_line
from pipeline.records import Backbone

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

DEFAULT = bundled.NAME


class Provider(Protocol):
    """A network that can be exported.

    Attributes:
        backbone: the facts about it, known without loading it.
    """

    backbone: Backbone

    def at_hand(self) -> bool:
        """Say whether its weights are on this machine."""

    def module(self) -> torch.nn.Module:
        """Build it with its weights: normalised ``(n, 3, h, w)`` to pooled ``(n, d)`` features.

        Raises:
            BackboneError: the weights are missing or not the expected ones.
        """


@runtime_checkable
class Classifying(Protocol):
    """A provider that also has the classifier its network was trained with."""

    def classifier(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight ``(m, d)`` and bias ``(m,)``."""


def available() -> list[Provider]:
    """Return every backbone that can be named."""
    return [bundled.EfficientNetLite0()]


def find(name: str) -> Provider:
    """Return the provider of a backbone.

    Raises:
        BackboneError: there is none of that name; near matches are named.
    """
    known = {provider.backbone.name: provider for provider in available()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else f"there is: {', '.join(known)}"
    raise BackboneError(
        f"no backbone {one_line(name)!r}; {hint}; or give the path of an exported .onnx file"
    )


def classifier(facts: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return the linear layer that a backbone's features went into when it was trained.

    Args:
        facts: the backbone's description in a store's extraction.

    Returns:
        weight ``(m, d)`` and bias ``(m,)`` of the logits of its own ``m`` classes; None where it is
        not at hand: a file of unknown origin, another layer than the last, missing weights.
    """
    for provider in available():
        known = json.loads(json.dumps(dataclasses.asdict(provider.backbone)))
        if facts == known and isinstance(provider, Classifying) and provider.at_hand():
            return provider.classifier()
    return None
