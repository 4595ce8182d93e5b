"""The mean of the heads' calibrated probabilities, as one more head.

Heads err on different images, so their mean errs less than most of them (Kittler, Hatef, Duin and
Matas, *On Combining Classifiers*, PAMI 20, 1998: the sum rule). It is made of heads that are fitted
already, and scored on their out-of-fold probabilities, so it costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads import MEAN
from headstart.heads.search import Candidate, FittedHead, Refit, finish
from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.ensemble import VotingClassifier


@dataclass(frozen=True)
class _Names:
    name: str = MEAN
    title: str = "mean of the heads"


def combine(heads: Sequence[FittedHead], data: TrainingSet) -> FittedHead:
    """Return the mean of two or more heads that were fitted on ``data``.

    Its ``params`` name the ``heads``, and its estimator is a `VotingClassifier` of theirs.
    """
    started = time.perf_counter()
    names = ", ".join(head.name for head in heads)

    def fit(_: Candidate) -> Refit:
        answers = [_parts(head, data) for head in heads]
        means = [np.mean(parts, axis=0) for parts in zip(*answers, strict=True)]
        return _voting(heads), means

    how = "; ".join(f"{head.name}: {head.approximation}" for head in heads if head.approximation)
    return finish(_Names(), [], fit, data, started, how, Candidate({"heads": names}, ()))


def members(head: FittedHead) -> list[str]:
    """Return the names of the heads whose mean a head is, or its own."""
    names: str = head.params["heads"] if head.name == MEAN else head.name
    return names.split(", ")


def _parts(head: FittedHead, data: TrainingSet) -> Sequence[NDArray[np.floating]]:
    """Return each fold's out-of-fold probabilities."""
    return head.parts or [head.out_of_fold[held_out] for _, held_out in data.folds]


def _voting(heads: Sequence[FittedHead]) -> VotingClassifier:
    from sklearn.ensemble import VotingClassifier
    from sklearn.preprocessing import LabelEncoder

    fitted: list[tuple[str, Any]] = [(head.name, head.estimator) for head in heads]
    voting = VotingClassifier(fitted, voting="soft")
    voting.estimators_ = [estimator for _, estimator in fitted]  # what fitting again would make
    voting.le_ = LabelEncoder().fit(voting.estimators_[0].classes_)
    voting.classes_ = voting.le_.classes_
    return voting
