"""What features in another precision lose where images have several labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.precision_budget import FOLDS, REPEATS, Loss, jackknife_error
from headstart.core.records import ImageRef
from headstart.heads.folds import divisions
from headstart.heads.multilabel.label_set import UNKNOWN, LabelSet, rarest
from headstart.heads.multilabel.logistic import LogisticRegressionLabels
from headstart.heads.multilabel.scoring import average_precisions

SCORE = "mean average precision"
_SEED = 0

Labels = NDArray[np.int8]
Values = NDArray[np.floating]


def compare(
    features: Sequence[NDArray[np.float32]], refs: Sequence[ImageRef], workers: int
) -> Loss | None:
    """Cross-validate logistic regression on two feature sets of the same images and folds.

    The score is the mean over the divisions. Returns None if no label is on enough images and
    absent from enough, or a feature is not finite.
    """
    rows = [row for row, ref in enumerate(refs) if ref.labels is not None]
    labels = _states([refs[row] for row in rows])
    least = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0))
    labels = labels[:, least >= FOLDS]
    if not labels.shape[1] or not all(np.isfinite(f).all() for f in features):
        return None
    fold = divisions(_strata(labels), FOLDS, _SEED, REPEATS)
    family = LogisticRegressionLabels()
    sets = [LabelSet(each[rows], labels, fold, _SEED, workers) for each in features]
    # With the same C for all; choosing it for each adds more noise than the networks differ by.
    params = family.search(sets[0]).params
    before, after = (_by_image(data, family.answers(params, data)) for data in sets)

    def loss(kept: NDArray[np.bool_]) -> float | None:
        scores = [score(labels[kept], each[:, kept]) for each in (before, after)]
        return None if scores[0] is None or scores[1] is None else scores[0] - scores[1]

    scores = [score(labels, each) for each in (before, after)]
    if scores[0] is None or scores[1] is None:
        return None
    return Loss(len(rows), scores[0], scores[1], jackknife_error(len(rows), loss))


def score(labels: Labels, values: Values) -> float | None:
    """Return the mean average precision of labels, ``(n, k)``; None if no image has one.

    ``values`` are those of each division, ``(r, n, k)``.
    """
    precisions = np.stack([average_precisions(labels, each) for each in values])
    return float(np.nanmean(precisions)) if np.isfinite(precisions).any() else None


def _states(refs: Sequence[ImageRef]) -> Labels:
    """Return which labels images have, ``(n, k)``: 1, 0, or -1 where that is unknown."""
    sets = [ref.labels for ref in refs if ref.labels is not None]
    names = sorted({name for each in sets for name in each.present})
    code = {name: number for number, name in enumerate(names)}
    states = np.zeros((len(sets), len(names)), np.int8)
    for row, each in zip(states, sets, strict=True):
        row[[code[name] for name in each.unknown if name in code]] = UNKNOWN
        row[[code[name] for name in each.present]] = 1
    return states


def _strata(labels: Labels) -> NDArray[np.int64]:
    """Return each image's rarest label; where too few share it, the most frequent of these."""
    codes = rarest(labels)
    counts = np.bincount(codes)
    strata: NDArray[np.int64] = np.where(counts[codes] >= FOLDS, codes, counts.argmax())
    return strata


def _by_image(data: LabelSet, parts: Sequence[Values]) -> Values:
    """Return the values of each division in the order of the images, ``(r, n, k)``."""
    shape = REPEATS, *data.labels.shape
    values = np.empty(shape)
    rows = data.held_out.reshape(shape[:2])
    np.put_along_axis(values, rows[..., np.newaxis], data.stacked(parts).reshape(shape), axis=1)
    return values
