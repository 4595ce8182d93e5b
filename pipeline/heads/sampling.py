"""Hyper-parameters of large data, chosen on a part of the rows.

What they are worth is then worked out on all rows. The penalty of logistic regression is set
against a sum over rows, so that the C which suits a part suits the whole: it is the width of a
prior, which does not depend on how much data there will be. That of least squares does grow with
the rows, and is chosen on all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads.search import Candidate, TrainingSet, preference

ROWS = 20_000  # with more, hyper-parameters are chosen on so many


def search(
    data: TrainingSet,
    tune: Callable[[TrainingSet], Sequence[Candidate]],
    settle: Callable[[dict[str, Any]], Sequence[Candidate]],
) -> tuple[list[Candidate], Candidate, str]:
    """Choose among candidates on `tuning_part`, and settle the choice on all rows.

    Args:
        data: the training set.
        tune: returns the scored candidates of a part of it, simplest first.
        settle: given the parameters chosen there, returns candidates scored on all rows: these
            parameters, and others that cost little once they are scored.

    Returns:
        The candidates, the chosen one, and what to say about it; empty if all rows were used.
    """
    part = tuning_part(data)
    tried = list(tune(part))
    best = min(tried, key=preference)
    if part is data:
        return tried, best, ""
    settled = list(settle(best.params))
    again = [one.params for one in settled]
    kept = [one for one in tried if one.params not in again]
    names = " and ".join(
        name
        for name in best.params
        if len({one.params[name] for one in tried}) > 1 == len({params[name] for params in again})
    )
    about = f"{names or 'parameters'} chosen on {len(part.labels):,} of the rows"
    return [*kept, *settled], min(settled, key=preference), about


def tuning_part(data: TrainingSet) -> TrainingSet:
    """Return all rows, or about `ROWS` in which every class and fold has its share.

    Every class keeps as many rows as there are folds, if it has them, and a fold that trains on a
    class goes on to do so. Rows that are always trained on, and those of a predefined validation
    split, are drawn by themselves: a small validation split is used whole.
    """
    if len(data.labels) <= ROWS:
        return data
    divisions = np.atleast_2d(data.fold)
    always = (divisions < 0).all(axis=0)
    drawn = [_proportional(data, divisions[0], np.flatnonzero(rows)) for rows in (always, ~always)]
    rows = np.sort(np.concatenate(drawn))
    return dataclasses.replace(
        data, features=data.features[rows], labels=data.labels[rows], fold=data.fold[..., rows]
    )


def _proportional(
    data: TrainingSet, fold: NDArray[np.int64], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return about `ROWS` of the rows: of each class, evenly spaced ones in the order of folds."""
    if len(rows) <= ROWS:
        return rows
    rows = np.random.default_rng(data.seed).permutation(rows)
    rows = rows[np.lexsort((fold[rows], data.labels[rows]))]
    _, counts = np.unique(data.labels[rows], return_counts=True)
    fewest = int(fold.max()) + 1
    kept = np.minimum(counts, np.maximum(np.rint(counts * (ROWS / len(rows))), max(fewest, 2)))
    # Both ends are kept: rows of two folds, wherever a class has two.
    places = [
        start + np.rint(np.linspace(0, count - 1, int(keep))).astype(np.intp)
        for start, count, keep in zip(np.cumsum(counts) - counts, counts, kept, strict=True)
    ]
    drawn: NDArray[np.intp] = rows[np.concatenate(places)]
    return drawn
