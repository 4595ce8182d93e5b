"""The trained model: a base and a linear classifier on its normalised features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

_LEVELS = 5  # of learning rates, from the first trained layer to the last


class Start(NamedTuple):
    """Weight ``(k, d)`` and bias ``(k,)`` of a linear classifier of features at norm 1."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class Classifier(torch.nn.Module):
    """A base and a linear layer on its features at norm 1, as heads use them.

    The base maps inputs to ``(n, d)`` features. The linear layer starts from the trained logistic
    regression, ``weight`` ``(k, d)`` and ``bias`` ``(k,)`` (LP-FT: Kumar et al., *Fine-Tuning can
    Distort Pretrained Features*, 2022).
    """

    def __init__(
        self, base: torch.nn.Module, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> None:
        super().__init__()
        self.base = base
        self.head = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return ``(n, k)`` logits."""
        features = self.base(inputs).float()
        logits: torch.Tensor = self.head(torch.nn.functional.normalize(features))
        return logits


class Pixels(torch.nn.Module):
    """The base of ``all`` mode: normalises pixels from 0 to 1, then runs the whole network."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, features: torch.nn.Module, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return ``(n, d)`` features."""
        images = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        features: torch.Tensor = self.features(images)
        return features


def freeze_norms(model: torch.nn.Module) -> None:
    """Fix the statistics of batch normalisation; its weights are still trained."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def groups(
    model: Classifier, lr: float, head_lr: float, depth_decay: float
) -> list[dict[str, object]]:
    """Return parameter groups with learning rates that rise towards the end of the network.

    They rise to ``lr`` in the base's last layer, from about ``depth_decay * lr`` in the first one
    that is trained. Parameters are listed in the order of the layers.
    """
    base = [p for p in model.base.parameters() if p.requires_grad]
    levels: dict[int, list[torch.nn.Parameter]] = {}
    for index, parameter in enumerate(base):
        levels.setdefault(_LEVELS * index // len(base), []).append(parameter)
    layers: list[dict[str, object]] = [
        {
            "params": parameters,
            "lr": lr * depth_decay ** (1 - (level + 1) / _LEVELS),
            "weight_decay": 0.0,
        }
        for level, parameters in levels.items()
    ]
    return [*layers, {"params": list(model.head.parameters()), "lr": head_lr, "weight_decay": 0.0}]


class Anchor:
    """Pulls the base's weights towards their start, after every step.

    L2-SP (Li et al., *Explicit Inductive Bias for Transfer Learning with Convolutional Networks*,
    2018), with the penalty decoupled from the gradient as in AdamW: a step removes the share
    ``lr × decay`` of the distance. Biases and norms are not pulled.
    """

    def __init__(self, model: Classifier, optimizer: torch.optim.Optimizer, decay: float) -> None:
        self._decay, self._optimizer = decay, optimizer
        self._pairs = []
        for group in optimizer.param_groups:
            weights = [p for p in group["params"] if p.dim() > 1]
            starts = [p.detach().clone() for p in weights]
            self._pairs.append((weights, starts))

    @torch.no_grad()
    def pull(self) -> None:
        """Remove this step's share of the distance."""
        # Read the groups in every step, because loading a checkpoint replaces them.
        for group, (weights, starts) in zip(self._optimizer.param_groups, self._pairs, strict=True):
            share = float(group["lr"]) * self._decay
            for weight, start in zip(weights, starts, strict=True):
                weight.lerp_(start, share)
