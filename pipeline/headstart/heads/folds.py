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
    ``group``, ``(n,)``, share a fold, and classes are spread as evenly as the groups allow. With
    very many groups, each follows its first image.
    """
    from sklearn.model_selection import StratifiedKFold

    if group is not None:
        _, first, members = np.unique(group, return_index=True, return_inverse=True)
        if len(first) > MANY_GROUPS:
            return stratified_folds(labels[first], folds, seed)[members]
        if len(first) < len(group):
            return _of_groups(labels, members, folds, seed)[members]
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), dtype=np.int64)
    with hushed():
        for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
            fold[held_out] = number
    return fold


def _of_groups(
    labels: NDArray[np.integer], members: NDArray[np.intp], folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold of each group, ``(g,)``; ``members`` are the groups of the images.

    One group after the other, the most unequal first, goes where classes stay spread most evenly.
    These are the folds of scikit-learn's ``StratifiedGroupKFold``, which compares one fold at a
    time: 3 s for 3,000 groups.
    """
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    counts = np.zeros((members.max() + 1, len(sizes)))
    np.add.at(counts, (members, codes), 1)
    order = np.arange(len(counts))
    np.random.RandomState(seed).shuffle(order)
    order = order[np.argsort(-np.std(counts[order], axis=1), kind="stable")]
    fold, filled = np.empty(len(counts), np.int64), np.zeros((folds, len(sizes)))
    own = np.arange(folds)
    for group in order:
        tried = np.repeat(filled[np.newaxis], folds, axis=0)
        tried[own, own] += counts[group]
        tried /= sizes
        uneven = tried.std(axis=1).mean(axis=1).tolist()
        images = filled.sum(axis=1).tolist()
        best = 0
        for other in range(1, folds):
            least = uneven[best]
            close = abs(uneven[other] - least) <= 1e-8 + 1e-5 * least
            if uneven[other] < least or (close and images[other] < images[best]):
                best = other
        filled[best] += counts[group]
        fold[group] = best
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
