"""Kernel values between training rows, from the matrices that families share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.training_set import MAX_SHARED_ROWS, TrainingSet, squared_distances

BLOCK = 64  # rows at once, which stay in the processor's cache


def prepare(data: TrainingSet, gamma: float | None) -> None:
    """Compute what `kernel_of` reads, on all workers; call it before threads start."""
    if gamma is not None and len(data.labels) <= MAX_SHARED_ROWS:
        data.squared_distances  # noqa: B018
    else:
        data.gram  # noqa: B018


def kernel_of(
    data: TrainingSet,
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    gamma: float | None,
    kind: type[np.floating[Any]] = np.float64,
) -> NDArray[Any]:
    """Return ``exp(-gamma |a - b|^2)`` between rows, ``(a, b)``; inner products if None.

    There are at most `headstart.heads.training_set.MAX_GRAM_ROWS` rows.
    """
    kernel = np.empty((len(left), len(right)), kind)
    shared = len(data.labels) <= MAX_SHARED_ROWS
    for start in range(0, len(left), BLOCK):
        rows = left[start : start + BLOCK]
        if gamma is None:
            block = data.gram[rows].take(right, axis=1)
        elif shared:
            block = data.squared_distances[rows].take(right, axis=1)
        else:
            block = squared_distances(data.gram, rows, right)
        if gamma is not None:
            block *= np.float32(-gamma)
            np.exp(block, out=block)
        kernel[start : start + BLOCK] = block
    return kernel
