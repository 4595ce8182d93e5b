"""What the labels of images with several labels tell: doubtful ones, pairs, conflicts, a curve.

Labels are ``(n, k) int8`` of 0, 1 and -1, where unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.results import LearningCurve
from headstart.evaluation import label_errors
from headstart.evaluation.groups import Partition
from headstart.evaluation.learning_curve import described, draw, over_draws
from headstart.evaluation.metrics.multilabel import resampling
from headstart.heads.multilabel.label_set import LabelSet, rarest
from headstart.heads.multilabel.scoring import average_precisions

Labels = NDArray[np.int8]
RESAMPLES = 300  # of the images of each draw of a learning curve


class DoubtfulLabel(NamedTuple):
    """A label that an image may have, or lack, wrongly.

    Attributes:
        row: the image.
        label: the column.
        present: what the data says; the opposite is suggested.
        probability: out of fold, of the label.
        chance: that the data is wrong, and ``tier`` its name; see `label_errors`.
    """

    row: int
    label: int
    present: bool
    probability: float
    chance: float
    tier: str


def doubtful_labels(labels: Labels, probabilities: NDArray[np.floating]) -> list[DoubtfulLabel]:
    """Return the doubtful labels of all images, most doubtful first, by out-of-fold ``(n, k)``.

    Each label is judged like a problem of two classes, as cleanlab's tools for several labels do:
    Thyagarajan, Snorrason, Northcutt and Mueller, *Identifying Incorrect Annotations in
    Multi-Label Classification Data*, 2022. Unknown cells are not judged, nor is a label that is the
    same for all images.
    """
    doubtful = []
    for label in range(labels.shape[1]):
        rows = np.flatnonzero((labels[:, label] >= 0) & np.isfinite(probabilities[:, label]))
        present = labels[rows, label]
        if len(np.unique(present)) < 2:
            continue
        of_label = probabilities[rows, label]
        errors = label_errors.find(present, np.stack([1 - of_label, of_label], axis=1))
        doubtful += [
            DoubtfulLabel(
                int(rows[place]),
                label,
                bool(present[place]),
                float(of_label[place]),
                float(errors.chance[place]),
                errors.tier(place),
            )
            for place in errors.suspects.tolist()
        ]
    return sorted(doubtful, key=lambda each: (-each.chance, each.row, each.label))


def co_occurrence(labels: Labels) -> NDArray[np.int64]:
    """Return how many images have both of two labels, ``(k, k)``; the diagonal has each label's."""
    present = (labels == 1).astype(np.int64)
    counts: NDArray[np.int64] = present.T @ present
    return counts


def always_together(labels: Labels) -> list[tuple[int, int]]:
    """Return pairs of columns that agree wherever both are known; one of them is redundant.

    At least two images have both, and at least one has neither.
    """
    present, absent = (labels == 1).astype(np.int64), (labels == 0).astype(np.int64)
    both, neither, differ = present.T @ present, absent.T @ absent, present.T @ absent
    same = (differ + differ.T == 0) & (both >= 2) & (neither >= 1)
    return [(int(a), int(b)) for a, b in np.argwhere(np.triu(same, 1))]


def conflicts(labels: Labels, duplicates: Partition) -> list[tuple[int, int, list[int]]]:
    """Return pairs of duplicates whose labels differ: two rows, and the columns that differ.

    ``duplicates``, ``(n,)``, is the group of each image. For each group, its first image is
    compared with every other.
    """
    _, first, inverse = np.unique(duplicates, return_index=True, return_inverse=True)
    origin = first[inverse]
    differ = (labels != labels[origin]) & (labels >= 0) & (labels[origin] >= 0)
    return [
        (int(origin[row]), int(row), np.flatnonzero(differ[row]).tolist())
        for row in np.flatnonzero(differ.any(axis=1))
    ]


def learning_curve(
    data: LabelSet,
    values: Callable[[LabelSet], list[NDArray[np.floating]]],
    head: str = "",
    backbone: str = "",
) -> LearningCurve:
    """Return how macro average precision grows with the number of images.

    ``values`` fits the chosen head on every fold of a set, and returns what
    `headstart.heads.multilabel.family.LabelFamily.answers` does. Sizes and draws are those of
    `headstart.evaluation.learning_curve`, where images count for their rarest label; the accuracies
    of the result are average precisions.
    """
    codes = rarest(data.labels)
    fold = np.atleast_2d(data.fold)[0]
    draws = draw(codes, fold, data.seed)
    folds = [(rows, each.held_out) for each in draws for rows in each.fits]
    answers = iter(values(data.divided(folds)))
    rng = np.random.default_rng(data.seed)
    scores, resampled = [], []
    for each in draws:
        parts = [next(answers) for _ in each.fits]
        observed, drawn = zip(*_scored(data.labels[each.held_out], parts, rng), strict=True)
        scores.append(observed)
        resampled.append(np.stack(drawn, axis=1))
    sizes = np.mean([[len(rows) for rows in each.fits] for each in draws], axis=0)
    return described(
        sizes,
        len(np.unique(codes)),
        np.mean(scores, axis=0),
        over_draws(np.stack(resampled), rng),
        len(data.labels),
        head,
        backbone,
    )


def _scored(
    labels: Labels, parts: list[NDArray[np.floating]], rng: np.random.Generator
) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Yield the macro average precision of each size, and of resampled images ``(RESAMPLES,)``."""
    n = len(labels)
    weights = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).T.astype(np.float32)
    for part in parts:
        drawn = resampling.macro_means(resampling.weighted_areas(labels, part, weights)[0])
        yield float(np.nanmean(average_precisions(labels, part))), np.nan_to_num(drawn)
