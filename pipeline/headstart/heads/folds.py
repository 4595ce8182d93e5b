"""Stratified folds of the training images, drawn once or several times: `TrainingSet.fold`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel.blas import hushed

MANY_GROUPS = 200_000  # with more, one image of each decides its fold
NEVER = -1  # marks an image that every fold trains on


def stratified_folds(
    labels: NDArray[np.integer],
    folds: int,
    seed: int,
    group: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Return the fold, 0 to ``folds - 1``, that holds each image out; classes are spread evenly.

    Every class needs at least ``folds`` images, or groups of images. Images with the same number in
    ``group``, ``(n,)``, share a fold, and classes are spread as evenly as the groups allow.
    scikit-learn takes minutes for a million groups; with that many, each group follows its first
    image.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if group is not None:
        _, first, members = np.unique(group, return_index=True, return_inverse=True)
        if len(first) == len(group):
            group = None
        elif len(first) > MANY_GROUPS:
            return stratified_folds(labels[first], folds, seed)[members]
    kind = StratifiedKFold if group is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), dtype=np.int64)
    with hushed():
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
            fold[held_out] = number
    return fold


def divisions(
    labels: NDArray[np.integer],
    folds: int,
    seed: int,
    repeats: int = 1,
    group: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Return `stratified_folds` for ``seed`` and others drawn from it, ``(repeats, n)``."""
    seeds = [seed, *np.random.SeedSequence([seed, folds]).generate_state(repeats - 1).tolist()]
    return np.stack([stratified_folds(labels, folds, each, group) for each in seeds])


def predefined(held_out: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the division, ``(1, n)``, that holds out these images and trains on the others."""
    return np.where(held_out, 0, NEVER).astype(np.int64)[np.newaxis]
