"""How many independent images of a test split the scored images are worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

# What an out-of-fold answer is worth, in images of a test split. Answers come from models of other
# images than the model that is kept, and both depend on which images there were. See `Design`.
OUT_OF_FOLD = 1 / 1.5

Groups = NDArray[np.integer] | None


@dataclass(frozen=True)
class Design:
    """What ``n`` scored images are worth: those of a group are not independent.

    A score's variance is that of independent images times its design effect (Kish, *Survey
    Sampling*, 1965): the variance of the groups' sums over that of the images. Few errors say
    little about it, so it is drawn towards its largest value, where all images of a group agree,
    with the weight of one group with errors. Quantiles are Student's with a degree of freedom fewer
    than groups (Korn and Graubard, *Confidence Intervals for Proportions with Small Expected Number
    of Positive Counts Estimated from Survey Data*, 1998).

    Cross-validation has a larger variance than a test split of as many images: with five folds 1.25
    to 1.35 times (Nadeau and Bengio, *Inference for the Generalization Error*, 2003), and more as
    an estimate for the one model that is kept (Bates, Hastie and Tibshirani, *Cross-Validation:
    What Does It Estimate and How Well Does It Do It?*, 2024). docs/decisions/0159 measures it.

    Attributes:
        correct: ``(n,)``, whether each image was classified correctly.
        codes: ``(n,)``, the group of each image, from 0; None if each is its own group.
        worth: of an answer, in answers for a test split: 1, or `OUT_OF_FOLD`.
    """

    correct: NDArray[np.bool_]
    codes: NDArray[np.intp] | None
    worth: float = 1.0

    @classmethod
    def of(cls, correct: NDArray[np.bool_], groups: Groups, worth: float = 1.0) -> Design:
        """Number the groups; None, or groups of one image each, are no groups."""
        codes = None
        if groups is not None:
            numbers, codes = np.unique(groups, return_inverse=True)
            codes = None if len(numbers) == len(groups) else codes
        return cls(correct, codes, worth)

    @property
    def degrees(self) -> float:
        """The degrees of freedom: infinite without groups."""
        return np.inf if self.codes is None else max(1.0, float(self.codes.max()))

    def effect(self, influence: NDArray[np.floating]) -> float:
        """Return the design effect, at least 1, of a score with this influence of each image."""
        return (1.0 if self.codes is None else self._of_groups(influence)) / self.worth

    def _of_groups(self, influence: NDArray[np.floating]) -> float:
        assert self.codes is not None
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
