"""Hyper-parameters of large data, chosen on a part of the rows.

What they are worth is then worked out on all rows. The penalty of logistic regression is set
against a sum over rows, so that the C which suits a part suits the whole: it is the width of a
prior, which does not depend on how much data there will be. That of least squares does grow with
the rows, and is chosen on all of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.search import Candidate, FittedHead, TrainingSet, preference

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
    return data if len(data.labels) <= ROWS else data.part(sample(data, ROWS))


def on_part(
    search: Callable[[TrainingSet], FittedHead], data: TrainingSet, count: int
) -> FittedHead:
    """Search on as many rows of a store on disk as memory holds, and say so.

    Args:
        search: of a family, which will find the features in memory.
        data: the training set.
        count: of rows, about.

    Returns:
        What was found; the out-of-fold probabilities of other rows are NaN.
    """
    started = time.perf_counter()
    rows = sample(data, count)
    found = search(data.part(rows))
    out_of_fold = np.full((len(data.labels), data.n_classes), np.nan)
    out_of_fold[rows] = found.out_of_fold
    how = [found.approximation] if found.approximation else []
    how += [f"fitted on {len(rows):,} of the rows"] if len(rows) < len(data.labels) else []
    return dataclasses.replace(
        found,
        out_of_fold=out_of_fold,
        approximation="; ".join(how),
        seconds=time.perf_counter() - started,
    )


def sample(data: TrainingSet, count: int) -> NDArray[np.intp]:
    """Return about so many rows, ascending, as `tuning_part` draws them; all if there are fewer."""
    divisions = np.atleast_2d(data.fold)
    always = (divisions < 0).all(axis=0)
    drawn = [
        _proportional(data, divisions[0], np.flatnonzero(rows), count) for rows in (always, ~always)
    ]
    return np.sort(np.concatenate(drawn))


def _proportional(
    data: TrainingSet, fold: NDArray[np.int64], rows: NDArray[np.intp], count: int
) -> NDArray[np.intp]:
    """Return about `count` of the rows: of each class, evenly spaced ones in the order of folds."""
    if len(rows) <= count:
        return rows
    rows = np.random.default_rng(data.seed).permutation(rows)
    rows = rows[np.lexsort((fold[rows], data.labels[rows]))]
    _, counts = np.unique(data.labels[rows], return_counts=True)
    fewest = int(fold.max()) + 1
    kept = np.minimum(counts, np.maximum(np.rint(counts * (count / len(rows))), max(fewest, 2)))
    # Both ends are kept: rows of two folds, wherever a class has two.
    places = [
        start + np.rint(np.linspace(0, of_class - 1, int(keep))).astype(np.intp)
        for start, of_class, keep in zip(np.cumsum(counts) - counts, counts, kept, strict=True)
    ]
    drawn: NDArray[np.intp] = rows[np.concatenate(places)]
    return drawn
