"""How many independent images a test split is worth, when images belong to groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

Groups = NDArray[np.integer] | None


@dataclass(frozen=True)
class Design:
    """The groups that ``n`` test images came in; images of a group are not independent.

    A score's variance is that of independent images times its design effect (Kish, *Survey
    Sampling*, 1965): the variance of the groups' sums over that of the images. Few errors say
    little about it, so it is drawn towards its largest value, where all images of a group agree,
    with the weight of one group with errors. Quantiles are Student's with a degree of freedom fewer
    than groups (Korn and Graubard, *Confidence Intervals for Proportions with Small Expected Number
    of Positive Counts Estimated from Survey Data*, 1998).

    Attributes:
        correct: ``(n,)``, whether each image was classified correctly.
        codes: ``(n,)``, the group of each image, from 0; None if each is its own group.
    """

    correct: NDArray[np.bool_]
    codes: NDArray[np.intp] | None

    @classmethod
    def of(cls, correct: NDArray[np.bool_], groups: Groups) -> Design:
        """Number the groups; None, or groups of one image each, are no groups."""
        codes = None
        if groups is not None:
            numbers, codes = np.unique(groups, return_inverse=True)
            codes = None if len(numbers) == len(groups) else codes
        return cls(correct, codes)

    @property
    def degrees(self) -> float:
        """The degrees of freedom: infinite without groups."""
        return np.inf if self.codes is None else max(1.0, float(self.codes.max()))

    def effect(self, influence: NDArray[np.floating]) -> float:
        """Return the design effect, at least 1, of a score with this influence of each image."""
        if self.codes is None:
            return 1.0
        sizes, wrong = self._sizes_and_errors
        worst = float((sizes**2).sum() / sizes.sum())
        informative = min(np.sum(wrong > 0), np.sum(wrong < sizes))
        prior = 1 / (1 + int(informative))
        total = float(influence @ influence)
        groups = len(sizes)
        if total <= 0 or groups < 2:
            return worst
        sums = np.bincount(self.codes, influence)
        measured = groups / (groups - 1) * float(sums @ sums) / total
        return max(1.0, (1 - prior) * measured + prior * worst)

    @cached_property
    def _sizes_and_errors(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        assert self.codes is not None
        return np.bincount(self.codes), np.bincount(self.codes, ~self.correct).astype(np.float64)

    def quantile(self, level: float = LEVEL, degrees: float = np.inf) -> float:
        """Return Student's two-sided quantile, with the fewer of these degrees and the groups'."""
        from scipy.special import ndtri, stdtrit

        tail = (1 + level) / 2
        degrees = min(degrees, self.degrees)
        return float(ndtri(tail) if np.isinf(degrees) else stdtrit(degrees, tail))
