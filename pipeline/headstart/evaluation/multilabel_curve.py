"""How macro average precision grows with the number of images that have several labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.core.results import LearningCurve
from headstart.evaluation.learning_curve import DRAWS, described, draw, over_draws
from headstart.evaluation.metrics.multilabel import areas
from headstart.heads.multilabel.label_set import LabelSet, rarest
from headstart.heads.multilabel.scoring import average_precisions

Labels = NDArray[np.int8]
RESAMPLES = 300  # of the images of each draw of a learning curve


def learning_curve(
    data: LabelSet,
    values: Callable[[LabelSet], list[NDArray[np.floating]]],
    head: str = "",
    backbone: str = "",
    draws: int = DRAWS,
) -> LearningCurve:
    """Return how macro average precision grows with the number of images.

    ``values`` fits the chosen head on every fold of a set, and returns what
    `headstart.heads.multilabel.family.LabelFamily.answers` does. Sizes and draws are those of
    `headstart.evaluation.learning_curve`, where images count for their rarest label; the accuracies
    of the result are average precisions.
    """
    codes = rarest(data.labels)
    fold = np.atleast_2d(data.fold)[0]
    drawn = draw(codes, fold, data.seed, draws)
    folds = [(rows, each.held_out) for each in drawn for rows in each.fits]
    answers = iter(values(data.divided(folds)))
    rng = np.random.default_rng(data.seed)
    scores, resampled = [], []
    for each in drawn:
        parts = [next(answers) for _ in each.fits]
        observed, again = zip(*_scored(data.labels[each.held_out], parts, rng), strict=True)
        scores.append(observed)
        resampled.append(np.stack(again, axis=1))
    sizes = np.mean([[len(rows) for rows in each.fits] for each in drawn], axis=0)
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
        drawn = areas.macro_means(areas.weighted_areas(labels, part, weights)[0])
        yield float(np.nanmean(average_precisions(labels, part))), np.nan_to_num(drawn)
