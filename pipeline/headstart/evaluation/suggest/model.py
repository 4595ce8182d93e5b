"""The model that is asked about unlabelled images: the user's own, or one fitted here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.core.results import LearningCurve
from headstart.evaluation import learning_curve
from headstart.heads.folds import NEVER
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

FOLDS = 5
STEADY = 6000  # images that the draws of a learning curve have together
MOST_DRAWS = 15
FITTED = "logistic regression on the labelled images"


@dataclass(frozen=True)
class Guesser:
    """Something that gives images their probable classes.

    Attributes:
        title: what it is called.
        classes: in the order of the probabilities.
        probabilities: of ``(n, d)`` features, ``(n, k)``.
        curve: its learning curve, measured on ``labelled`` images; None if there is none.
        thresholds: ``(k,)``, from which on an image has a label; None for one class an image.
    """

    title: str
    classes: tuple[str, ...]
    probabilities: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    curve: LearningCurve | None = None
    labelled: int = 0
    thresholds: NDArray[np.floating] | None = None

    def margins(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return 0 for images of most doubt to 1 where the model is sure, ``(n,)``.

        Doubts about several labels are relative to those about the other images.
        """
        if self.thresholds is None:
            return class_margins(probabilities)
        return label_margins(probabilities)


def class_margins(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return by how much the most probable class exceeds the next one, ``(n,)``."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T.astype(np.float64)
    apart: NDArray[np.float64] = first - second
    return apart


def label_margins(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 0 for the image with the label that is in most doubt to 1 for no doubt, ``(n,)``.

    The doubt about a label is the variance of its presence, ``p (1 - p)``, over the standard
    deviation that its prevalence alone would have, so that rare labels count as much as others.
    The most doubtful label of an image counts, as in BinMin: Brinker, *On Active Learning in
    Multi-label Classification*, 2006.
    """
    likely = np.asarray(probabilities, np.float64)
    prevalence = np.clip(likely.mean(axis=0), 1e-6, 1 - 1e-6)
    doubt = likely * (1 - likely) / np.sqrt(prevalence * (1 - prevalence))
    most = doubt.max(axis=1, initial=0.0)
    margins: NDArray[np.float64] = 1 - most / max(most.max(initial=0.0), 1e-12)
    return margins


def fit(
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    scored: NDArray[np.bool_],
    classes: tuple[str, ...],
    seed: int,
) -> Guesser | None:
    """Fit logistic regression on ``(n, d)`` labelled rows; None for too few labels.

    There must be two classes with two images each. ``scored`` rows, ``(n,)``, are those whose
    answers say how new images fare; the learning curve is that of these.
    """
    counts = np.bincount(labels)
    if np.sum(counts > 1) < 2:
        return None
    training = TrainingSet(
        features=features,
        labels=labels.astype(np.int64),
        fold=_folds(labels, seed),
        seed=seed,
        workers=available_cores(),
    )
    family = LogisticRegressionHead()
    head = family.search(training)
    codes = head.estimator.classes_

    def probabilities(rows: NDArray[np.float32]) -> NDArray[np.floating]:
        answers: NDArray[np.floating] = head.estimator.predict_proba(rows)
        return answers

    fold = np.where(scored, training.fold, NEVER)
    curve = None
    if len(np.unique(fold[fold != NEVER])) > 1:
        held_out = learning_curve.folds_to_hold_out(fold)
        draws = learning_curve.draw(training.labels, held_out, seed, number_of_draws(len(labels)))

        def answers(
            parts: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
        ) -> list[NDArray[np.intp]]:
            values = family.answers(head.params, training.divided(parts))
            return [value.argmax(axis=1) for value in values]

        measured = learning_curve.measure(draws, training.labels, answers)
        curve = learning_curve.describe(measured, len(labels), seed, family.name)
    names = tuple(classes[code] for code in codes)
    return Guesser(FITTED, names, probabilities, curve, len(labels))


def number_of_draws(images: int) -> int:
    """Return how many draws make the learning curve of so many images steady."""
    return int(np.clip(STEADY // images, learning_curve.DRAWS, MOST_DRAWS))


def _folds(labels: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Spread the images of each class over the folds; an only image is always trained on."""
    rng = np.random.default_rng(seed)
    fold = np.full(len(labels), NEVER, np.int64)
    for code in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == code))
        if len(rows) > 1:
            fold[rows] = (np.arange(len(rows)) + rng.integers(FOLDS)) % FOLDS
    return fold
