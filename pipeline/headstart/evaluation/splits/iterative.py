"""Iterative stratification: parts in which every one of several labels has its share of the images.

Source: Sechidis, Tsoumakas and Vlahavas, *On the Stratification of Multi-Label Data*, ECML PKDD
2011. The rarest label is divided first, while there is most freedom, and each image goes to the
part that lacks most of that label. Here whole groups are divided, the largest first, and a label
that most images have is divided by the images without it. Labels are ``(n, k) int8``: 0, 1, or -1
where unknown, which counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.groups import Partition

Labels = NDArray[np.int8]
DIGITS = 9  # of a need; equal needs differ by rounding


def divide(
    labels: Labels, groups: Partition | None, shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Return the part of each image, ``(n,)``, from 0; a group is in one part.

    ``groups``, ``(n,)``, are None if each image is its own. The parts get images, and images of
    each label, in proportion to ``shares``, as far as the groups allow. Where no group has two
    images, the rarest label's images are within one of their share.
    """
    marks, unit = _rarer_side(labels), _units(groups, len(labels))
    sizes = np.bincount(unit)
    counts = np.zeros((len(sizes), labels.shape[1]), np.int64)
    np.add.at(counts, unit, marks)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    parts = _Parts(counts, sizes, np.asarray(shares, float), rng)
    left = counts.sum(axis=0)
    while left.any():
        label = int(np.where(left > 0, left, left.max() + 1).argmin())
        waiting = order[(parts.of_unit[order] < 0) & (counts[order, label] > 0)]
        for member in waiting[np.argsort(-counts[waiting, label], kind="stable")].tolist():
            parts.add(member, label)
        left = counts[parts.of_unit < 0].sum(axis=0)
    waiting = order[parts.of_unit[order] < 0]
    for member in waiting[np.argsort(-sizes[waiting], kind="stable")].tolist():
        parts.add(member, None)
    return parts.of_unit[unit]


def hold_out(
    labels: Labels, groups: Partition | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """Return which images are held out, ``(n,)``, about ``share`` of them and of each label."""
    held_out: NDArray[np.bool_] = divide(labels, groups, (1 - share, share), seed) == 1
    return held_out


def folds(
    labels: Labels, groups: Partition | None, count: int, seed: int, repeats: int = 1
) -> NDArray[np.int64]:
    """Return the fold that holds each image out, ``(repeats, n)``, each time drawn anew."""
    more = np.random.SeedSequence([seed, count]).generate_state(repeats - 1).tolist()
    return np.stack([divide(labels, groups, [1.0] * count, each) for each in (seed, *more)])


class _Parts:
    """The parts so far, and how many images, and images of each label, they still need."""

    def __init__(
        self,
        counts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        shares: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        shares = shares / shares.sum()
        self._counts, self._sizes = counts, sizes
        self._needs = np.outer(shares, counts.sum(axis=0))
        self._sizes_needed = shares * float(sizes.sum())
        self._lots = rng.random((len(sizes), len(shares)))
        self.of_unit = np.full(len(sizes), -1, np.int64)

    def add(self, unit: int, label: int | None) -> None:
        """Put a group where its label, or else any image, is needed most."""
        keys = [self._lots[unit], self._sizes_needed]
        keys += [] if label is None else [self._needs[:, label]]
        part = int(np.lexsort([np.round(key, DIGITS) for key in keys])[-1])
        self.of_unit[unit] = part
        self._needs[part] -= self._counts[unit]
        self._sizes_needed[part] -= self._sizes[unit]


def _rarer_side(labels: Labels) -> NDArray[np.bool_]:
    """Return which images count for each label: those with it, or if fewer, those without."""
    present, absent = labels == 1, labels == 0
    frequent = present.sum(axis=0) > absent.sum(axis=0)
    rarer: NDArray[np.bool_] = np.where(frequent, absent, present)
    return rarer


def _units(groups: Partition | None, n: int) -> NDArray[np.intp]:
    if groups is None:
        return np.arange(n)
    units: NDArray[np.intp] = np.unique(groups, return_inverse=True)[1]
    return units
