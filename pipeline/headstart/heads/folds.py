"""Divisions of the training images, as many as are wanted: what `TrainingSet.fold` holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.heads.search import stratified_folds

NEVER = -1  # the fold of an image that every fold trains on


def divisions(
    labels: NDArray[np.integer],
    folds: int,
    seed: int,
    repeats: int = 1,
    group: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Divide with `stratified_folds`, again and again with other seeds.

    Args:
        labels: as there.
        folds: as there.
        seed: of the first division; the others have seeds drawn from it.
        repeats: number of divisions, ``r``.
        group: as there.

    Returns:
        ``(r, n)``.
    """
    seeds = [seed, *np.random.SeedSequence([seed, folds]).generate_state(repeats - 1).tolist()]
    return np.stack([stratified_folds(labels, folds, each, group) for each in seeds])


def predefined(held_out: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the one division ``(1, n)`` that holds these images out and trains on the others."""
    return np.where(held_out, 0, NEVER).astype(np.int64)[np.newaxis]
