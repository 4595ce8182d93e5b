"""Accuracy and log loss, by which a search compares its candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.integer]


def accuracy(true: Codes, predicted: Codes) -> float:
    """Return the share of images, ``(n,)`` codes each, whose class is predicted correctly."""
    return float(np.mean(true == predicted))


def log_losses(true: Codes, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each image's negative log-probability of its true class, ``(n,)``, in nats.

    Probabilities, ``(n, k)``, are clipped to ``[eps, 1 - eps]`` for float64, so an excluded class
    costs 36 nats rather than infinity.
    """
    eps = np.finfo(np.float64).eps
    of_true = probabilities[np.arange(len(true)), true].astype(np.float64)
    losses: NDArray[np.float64] = -np.log(np.clip(of_true, eps, 1 - eps))
    return losses


def log_loss(true: Codes, probabilities: NDArray[np.floating]) -> float:
    """Return the mean of `log_losses`, in nats.

    The score is strictly proper: only the true probabilities minimise it (Good, *Rational
    Decisions*, 1952).
    """
    return float(np.mean(log_losses(true, probabilities)))
