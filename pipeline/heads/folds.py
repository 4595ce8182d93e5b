"""Divisions of the training images into folds: stratified, group-aware, repeated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import hushed

NEVER = -1  # the fold of an image that every fold trains on


def divisions(
    labels: NDArray[np.integer],
    folds: int,
    seed: int,
    repeats: int = 1,
    group: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Return the fold, 0 to ``folds - 1``, that holds each image out, for each division.

    Classes are spread evenly, as evenly as groups let them where images belong together.

    Args:
        labels: ``(n,)`` codes; every class needs at least ``folds`` images, or groups of images.
        folds: number of folds, at least 2.
        seed: of the shuffling. The first of several divisions is that of ``repeats=1``.
        repeats: number of divisions, ``r``.
        group: ``(n,)`` numbers, the same for images that must be in one fold; None for none.

    Returns:
        ``(r, n)``.
    """
    seeds = [seed, *np.random.SeedSequence([seed, folds]).generate_state(repeats - 1).tolist()]
    return np.stack([_division(labels, folds, each, group) for each in seeds])


def predefined(held_out: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the one division ``(1, n)`` that holds these images out and trains on the others."""
    return np.where(held_out, 0, NEVER).astype(np.int64)[np.newaxis]


def _division(
    labels: NDArray[np.integer], folds: int, seed: int, group: NDArray[np.integer] | None
) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    together = group is not None and len(np.unique(group)) < len(group)
    kind = StratifiedGroupKFold if together else StratifiedKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), dtype=np.int64)
    with hushed():
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
            fold[held_out] = number
    return fold
