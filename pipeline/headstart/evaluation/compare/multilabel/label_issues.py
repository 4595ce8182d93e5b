"""Labels that may be wrong: which label of which training image.

Each label is judged as `headstart.evaluation.label_errors` judges classes, has it or has it not, by
probabilities of models that were not fitted on the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headstart.core.results import LabelErrorSummary, LabelTier
from headstart.evaluation import label_errors
from headstart.evaluation.compare.multilabel.division import label_sets
from headstart.evaluation.compare.multilabel.training import LabelEntry
from headstart.evaluation.label_errors import HARD, TIERS
from headstart.evaluation.splits import Protocol

FEWEST = 20  # training images with a label, and without it; below, nothing can be estimated


class Suspect(NamedTuple):
    """A doubtful cell: the label ``code`` of the image in ``row``.

    ``present`` says whether the image is said to have it, ``score`` is the probability that this is
    right, ``chance`` that it is wrong, and ``highest`` the upper end of that.
    """

    row: int
    code: int
    present: bool
    score: float
    chance: float
    highest: float
    tier: str


def find(entry: LabelEntry, protocol: Protocol) -> list[Suspect]:
    """Return the doubtful labels of the training images, most doubtful first."""
    labels, answers = label_sets(entry.data)[protocol.train], entry.head.out_of_fold
    suspects: list[Suspect] = []
    for code in range(labels.shape[1]):
        judged = np.flatnonzero((labels[:, code] >= 0) & np.isfinite(answers[:, code]))
        present = labels[judged, code].astype(np.int64)
        if np.bincount(present, minlength=2).min() < FEWEST:
            continue
        p = answers[judged, code]
        errors = label_errors.find(present, np.column_stack([1 - p, p]))
        for place in errors.suspects.tolist():
            tier = errors.tier(place)
            if tier != HARD:
                suspects.append(
                    Suspect(
                        row=int(protocol.train[judged[place]]),
                        code=code,
                        present=bool(present[place]),
                        score=float(errors.quality[place]),
                        chance=float(errors.chance[place]),
                        highest=float(errors.highest[place]),
                        tier=tier,
                    )
                )
    return sorted(suspects, key=lambda suspect: (-suspect.chance, suspect.row, suspect.code))


def describe(suspects: list[Suspect], entry: LabelEntry, protocol: Protocol) -> LabelErrorSummary:
    """Return the summary for the results; its counts are of labels of images."""
    own = {name: [each for each in suspects if each.tier == name] for name, _ in TIERS}
    return LabelErrorSummary(
        images=int((label_sets(entry.data)[protocol.train] >= 0).sum()),
        suspects=len(suspects),
        method="label noise and temperature fitted to each label's out-of-fold probabilities",
        tiers=[
            LabelTier(
                tier,
                len(those),
                sum(each.chance for each in those),
                sum(each.highest for each in those),
            )
            for tier, those in own.items()
            if those
        ],
    )
