"""What training minimises, and how epochs are judged: a part of the target type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch


class Tally(ABC):
    """The answers of an epoch so far."""

    @abstractmethod
    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Take the ``(n, k)`` logits of a batch and its targets, on any device."""

    @abstractmethod
    def loss(self) -> float:
        """Return the plain loss of all images so far, without weights and smoothing."""

    @abstractmethod
    def score(self) -> float:
        """Return the score of all images so far, 0 to 1."""


class Objective(ABC):
    """The loss, and the score that the history has.

    Attributes:
        score: the score's name in the history, such as ``accuracy`` in ``validation_accuracy``.
    """

    score: str

    @abstractmethod
    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch of ``(n, k)`` logits.

        MixUp and CutMix make ``(n, k)`` targets of any other.
        """

    @abstractmethod
    def tally(self) -> Tally:
        """Return an empty tally."""

    @abstractmethod
    def rank(self, record: Mapping[str, float]) -> tuple[float, ...]:
        """Return a sort key of an epoch's record: the epoch to keep comes first."""

    @abstractmethod
    def show(self, score: float) -> str:
        """Return a score for the user."""
