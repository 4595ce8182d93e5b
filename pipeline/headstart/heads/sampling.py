"""Hyper-parameter search on a sample of large data.

The C of logistic regression is the width of a prior, which does not depend on how much data there
is, so the C that suits a sample suits all rows. The penalty of least squares grows with the number
of rows and is chosen on all of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads.search import Candidate, FittedHead, preference
from headstart.heads.training_set import TrainingSet

ROWS = 20_000  # with more, hyper-parameters are chosen on a sample of this size


def search(
    data: TrainingSet,
    tune: Callable[[TrainingSet], Sequence[Candidate]],
    settle: Callable[[dict[str, Any]], Sequence[Candidate]],
) -> tuple[list[Candidate], Candidate, str]:
    """Choose among candidates on `tuning_part`, then score the choice on all rows.

    Args:
        data: the training set.
        tune: returns the scored candidates of a sample, simplest first.
        settle: returns candidates scored on all rows: the parameters chosen on the sample, and
            others that cost little extra.

    Returns:
        The candidates, the chosen one, and the approximation in words, empty if there was none.
    """
    part = tuning_part(data)
    tried = list(tune(part))
    best = min(tried, key=preference)
    if part is data:
        return tried, best, ""
    settled = list(settle(best.params))
    again = [candidate.params for candidate in settled]
    kept = [candidate for candidate in tried if candidate.params not in again]
    names = " and ".join(
        name
        for name in best.params
        if len({candidate.params[name] for candidate in tried}) > 1
        and len({params[name] for params in again}) == 1
    )
    about = f"{names or 'parameters'} chosen on {len(part.labels):,} of the rows"
    return [*kept, *settled], min(settled, key=preference), about


def tuning_part(data: TrainingSet) -> TrainingSet:
    """Return all rows, or about `ROWS` of them, stratified by class and fold.

    Every class keeps at least as many rows as there are folds, if it has them. Rows that are always
    trained on and those of a predefined validation split are sampled separately, so a small
    validation split is used whole.
    """
    return data if len(data.labels) <= ROWS else data.part(sample(data, ROWS))


def on_part(
    search: Callable[[TrainingSet], FittedHead], data: TrainingSet, count: int
) -> FittedHead:
    """Search on a sample of about ``count`` rows, in memory, and say so in ``approximation``.

    The out-of-fold probabilities of all other rows are NaN.
    """
    started = time.perf_counter()
    rows = sample(data, count)
    head = search(data.part(rows))
    out_of_fold = np.full((len(data.labels), data.n_classes), np.nan)
    out_of_fold[rows] = head.out_of_fold
    how = [head.approximation] if head.approximation else []
    how += [f"fitted on {len(rows):,} of the rows"] if len(rows) < len(data.labels) else []
    return dataclasses.replace(
        head,
        out_of_fold=out_of_fold,
        parts=(),
        approximation="; ".join(how),
        seconds=time.perf_counter() - started,
    )


def sample(data: TrainingSet, count: int) -> NDArray[np.intp]:
    """Return a stratified sample of about ``count`` rows, ascending; all if there are fewer."""
    divisions = np.atleast_2d(data.fold)
    always = (divisions < 0).all(axis=0)
    drawn = [
        stratified(data, divisions[0], np.flatnonzero(rows), count) for rows in (always, ~always)
    ]
    return np.sort(np.concatenate(drawn))


def stratified(
    data: TrainingSet, fold: NDArray[np.int64], rows: NDArray[np.intp], count: int
) -> NDArray[np.intp]:
    """Return about ``count`` of the rows: of each class, evenly spaced in the order of folds.

    All come back as they are if there are fewer.
    """
    if len(rows) <= count:
        return rows
    rows = np.random.default_rng(data.seed).permutation(rows)
    rows = rows[np.lexsort((fold[rows], data.labels[rows]))]
    _, counts = np.unique(data.labels[rows], return_counts=True)
    fewest = int(fold.max()) + 1
    kept = np.minimum(counts, np.maximum(np.rint(counts * (count / len(rows))), max(fewest, 2)))
    # Keep both ends, so that a class with rows in two folds keeps both folds.
    places = [
        start + np.rint(np.linspace(0, of_class - 1, int(keep))).astype(np.intp)
        for start, of_class, keep in zip(np.cumsum(counts) - counts, counts, kept, strict=True)
    ]
    drawn: NDArray[np.intp] = rows[np.concatenate(places)]
    return drawn
