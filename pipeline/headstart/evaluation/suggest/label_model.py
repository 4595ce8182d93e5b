"""The model that is asked about unlabelled images which may have several labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.evaluation.metrics import multilabel as metrics
from headstart.evaluation.multilabel_curve import learning_curve
from headstart.evaluation.splits import iterative
from headstart.evaluation.suggest.model import FITTED, FOLDS, Guesser, number_of_draws
from headstart.heads.folds import NEVER
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.logistic import LogisticRegressionLabels


def fit(
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    scored: NDArray[np.bool_],
    classes: tuple[str, ...],
    seed: int,
) -> Guesser | None:
    """Fit logistic regression of each label on ``(n, d)`` rows; None for too few labels.

    ``labels`` are ``(n, k)``: 1, 0 and -1 where unknown. There must be a label that two images have
    and two lack. For ``scored`` see `headstart.evaluation.suggest.model.fit`.
    """
    if not np.any(np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0)) > 1):
        return None
    fold = iterative.folds(labels, None, FOLDS, seed)[0]
    training = LabelSet(features, labels, fold, seed=seed, workers=available_cores())
    family = LogisticRegressionLabels()
    head = family.search(training)

    def probabilities(rows: NDArray[np.float32]) -> NDArray[np.floating]:
        answers: NDArray[np.floating] = head.estimator.predict_proba(rows)
        return answers

    curve = None
    fold = np.where(scored, fold, NEVER)
    if len(np.unique(fold[fold != NEVER])) > 1:
        curve = learning_curve(
            LabelSet(features, labels, fold, seed=seed, workers=available_cores()),
            lambda parts: family.answers(head.params, parts),
            family.name,
            draws=number_of_draws(len(labels)),
        )
    thresholds = metrics.thresholds(labels, head.out_of_fold, metrics.Rule()).values
    return Guesser(FITTED, classes, probabilities, curve, len(labels), thresholds)
