"""One answer for a group of images, such as those of a patient, a burst or a sequence.

``mean`` is the mean of the images' log-probabilities, or of the log-odds of each label: the
logarithmic opinion pool with equal weights (Genest and Zidek, *Combining Probability
Distributions*, 1986). It does not grow surer with the number of images, which are seldom
independent. ``vote`` counts the images' answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import GROUP_ANSWERS

FLOOR = 1e-6  # the least probability that counts: one image must not rule a class out
MEAN, VOTE = GROUP_ANSWERS

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Pool:
    """Sums over the images of each group.

    Attributes:
        evidence: ``(g, k)`` sums of log-probabilities or, of ``several`` labels, of log-odds.
        votes: ``(g, k)``, how many images have each class or label as their answer.
        images: ``(g,)``, how many there are; at least 1.
        several: whether an image may have several labels.
    """

    evidence: Floats
    votes: Floats
    images: Floats
    several: bool = False

    @classmethod
    def of(
        cls,
        probabilities: NDArray[np.floating] | None,
        chosen: Masks,
        codes: NDArray[np.intp],
        several: bool = False,
    ) -> Pool:
        """Sum ``(n, k)`` probabilities and answers over groups; ``codes``, ``(n,)``, are from 0.

        Without probabilities there is no evidence, and groups can only vote.
        """
        groups = int(codes.max()) + 1 if len(codes) else 0
        votes = np.zeros((groups, chosen.shape[1]))
        evidence = np.zeros_like(votes)
        np.add.at(votes, codes, chosen)
        if probabilities is not None:
            np.add.at(evidence, codes, evidence_of(probabilities, several))
        images = np.bincount(codes, minlength=groups).astype(np.float64)
        return cls(evidence, votes, images, several)

    def probabilities(self, answer: str) -> Floats:
        """Return ``(g, k)`` probabilities of the groups, or the shares of the votes."""
        sizes = self.images[:, None]
        if answer == VOTE:
            return self.votes / sizes
        mean = self.evidence / sizes
        if self.several:
            return 1 / (1 + np.exp(-mean))
        powers = np.exp(mean - mean.max(axis=1, keepdims=True))
        shares: Floats = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def classes(self, answer: str) -> NDArray[np.intp]:
        """Return the most probable class of each group; the mean decides among equal votes."""
        if answer == VOTE:
            first = self.votes == self.votes.max(axis=1, keepdims=True)
            codes: NDArray[np.intp] = np.where(first, self.evidence, -np.inf).argmax(axis=1)
            return codes
        best: NDArray[np.intp] = self.evidence.argmax(axis=1)
        return best

    def labels(self, answer: str, thresholds: NDArray[np.floating]) -> Masks:
        """Return the labels of each group, ``(g, k)``.

        They are those whose mean reaches the threshold, ``(k,)``, or that more than half of the
        images have; of exactly half, the mean decides.
        """
        sizes = self.images[:, None]
        reached: Masks = self.evidence / sizes >= evidence_of(thresholds, several=True) - 1e-12
        if answer == VOTE:
            reached = (2 * self.votes > sizes) | ((2 * self.votes == sizes) & reached)
        return reached


def evidence_of(probabilities: NDArray[np.floating], several: bool) -> Floats:
    """Return the log-probability of each class or, of several labels, the log-odds."""
    clipped = np.clip(np.asarray(probabilities, np.float64), FLOOR, 1 - FLOOR if several else 1)
    evidence: Floats = np.log(clipped)
    return evidence - np.log1p(-clipped) if several else evidence
