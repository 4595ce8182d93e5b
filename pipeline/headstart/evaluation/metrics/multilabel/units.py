"""The images of a test split, or their groups, as what is resampled and left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.metrics.design import Groups
from headstart.evaluation.metrics.multilabel.scores import Labels

DRAWS = 2000
LEAST_DRAWS = 400
CELLS = 40_000_000  # images times draws
BATCH = 2_000_000  # of them in memory at once

Weights = NDArray[np.floating]  # of images, (n, draws)


class Units:
    """Images, or groups of images that belong together.

    Attributes:
        codes: ``(n,)``, the unit of each image, from 0.
        number: of units.
        positive: ``(k,)``, units with an image that has the label.
    """

    def __init__(self, labels: Labels, groups: Groups) -> None:
        n = len(labels)
        self.codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.number = int(self.codes.max()) + 1
        has = np.zeros((self.number, labels.shape[1]), bool)
        np.logical_or.at(has, self.codes, labels == 1)
        self.positive: NDArray[np.int64] = has.sum(axis=0)

    @property
    def draws_at_most(self) -> int:
        """How many draws of so many images are worth their time."""
        return int(np.clip(CELLS // len(self.codes), LEAST_DRAWS, DRAWS))

    def draws(self, seed: int) -> Iterator[Weights]:
        """Yield how often each image is drawn, ``(n, draws) float32``, in batches."""
        rng, left = np.random.default_rng(seed), self.draws_at_most
        shares = np.full(self.number, 1 / self.number)
        while left:
            size = min(left, max(1, BATCH // len(self.codes)))
            times = rng.multinomial(self.number, shares, size=size).T.astype(np.float32)
            yield np.ascontiguousarray(times[self.codes])
            left -= size

    def blocks(self) -> NDArray[np.intp]:
        """Return the units, ``(n,)``, joined at random where leaving out each takes too long."""
        several = int((np.bincount(self.codes) > 1).sum())
        if several <= max(LEAST_DRAWS, CELLS // len(self.codes)):
            return self.codes
        order = np.random.default_rng(0).permutation(self.number)
        joined: NDArray[np.intp] = order[self.codes] % self.draws_at_most
        return joined
