"""What features in another precision lose where images have one class, as a part of its target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.precision_budget import FOLDS, REPEATS, Loss, standard_error
from headstart.core.records import ImageRef
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

SCORE = "accuracy"
_SEED = 0


def compare(
    features: Sequence[NDArray[np.float32]], refs: Sequence[ImageRef], workers: int
) -> Loss | None:
    """Cross-validate logistic regression on two feature sets of the same images and folds.

    Returns None if too few images have a class, or a feature is not finite.
    """
    labels = [ref.label for ref in refs]
    _, codes = np.unique([label or "" for label in labels], return_inverse=True)
    counts = np.bincount(codes)
    usable = np.array([label is not None for label in labels]) & (counts[codes] >= FOLDS)
    if len(np.unique(codes[usable])) < 2 or not all(np.isfinite(f).all() for f in features):
        return None
    kept = np.unique(codes[usable], return_inverse=True)[1].astype(np.int64)
    fold = divisions(kept, FOLDS, _SEED, REPEATS)
    family = LogisticRegressionHead()
    sets = [TrainingSet(rows[usable], kept, fold, _SEED, workers) for rows in features]
    # With the same C for all; choosing it for each adds more noise than the networks differ by.
    params = family.search(sets[0]).params
    right = [_right(family.answers(params, data), data) for data in sets]
    before, after = (float(each.mean()) for each in right)
    return Loss(len(kept), before, after, standard_error(right[0] - right[1]))


def _right(parts: Sequence[NDArray[np.floating]], data: TrainingSet) -> NDArray[np.float64]:
    """Return how often the out-of-fold answer to each image was right, in all divisions."""
    right = np.zeros(len(data.labels))
    for (_, rows), probabilities in zip(data.folds, parts, strict=True):
        right[rows] += probabilities.argmax(axis=1) == data.labels[rows]
    return right / REPEATS
