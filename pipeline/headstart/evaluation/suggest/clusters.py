"""Clusters of rows: weighted k-means on the main axes of normalised features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.linalg import main_axes, normalise

AXES = 64  # of the features; further ones are mostly noise to clusters
ROUNDS = 30  # of Lloyd's algorithm
BLOCK = 4096  # rows whose distances to all centres are in memory

Rows = NDArray[np.float32]


class Clusters(NamedTuple):
    """Centres, ``(k, d)``, and the number of the cluster that each row is in, ``(n,)``."""

    centres: Rows
    member: NDArray[np.intp]


def on_main_axes(features: NDArray[np.float32]) -> Rows:
    """Return normalised features, less their mean, on at most `AXES` axes."""
    rows = normalise(features)
    rows -= rows.mean(axis=0)
    if rows.shape[1] <= AXES:
        return rows
    axes, _ = main_axes(rows, AXES)
    return (rows @ axes).astype(np.float32)


def cluster(
    rows: Rows, count: int, rng: np.random.Generator, weights: Rows | None = None
) -> Clusters:
    """Divide rows into ``count`` clusters, fewer only where there are fewer different rows.

    Lloyd's algorithm from centres drawn as by k-means++: Arthur and Vassilvitskii, *k-means++: The
    Advantages of Careful Seeding*, SODA 2007, with several draws for each.
    ``weights``, ``(n,)``, say how much a row counts.
    """
    weights = np.ones(len(rows), np.float32) if weights is None else weights
    centres = rows[_seeds(rows, count, rng, weights)].copy()
    member = _nearest(rows, centres)
    for _ in range(ROUNDS):
        for number in range(len(centres)):
            inside = np.flatnonzero(member == number)
            total = weights[inside].sum()
            if total > 0:
                centres[number] = weights[inside] @ rows[inside] / total
        before, member = member, _nearest(rows, centres)
        if (before == member).all():
            break
    return Clusters(centres, member)


def nearest_to(centres: Rows, rows: Rows) -> list[int]:
    """Return the row nearest to each centre, each row once."""
    chosen: list[int] = []
    free = np.ones(len(rows), bool)
    for centre in centres:
        apart = ((rows - centre) ** 2).sum(axis=1)
        apart[~free] = np.inf
        row = int(apart.argmin())
        if free[row]:
            free[row] = False
            chosen.append(row)
    return chosen


def _seeds(rows: Rows, count: int, rng: np.random.Generator, weights: Rows) -> list[int]:
    """Draw rows far from one another: of a few drawn at a time, the one that leaves least apart."""
    trials = 2 + int(np.log(count))
    seeds: list[int] = []
    apart = np.ones(len(rows), np.float32)
    while len(seeds) < count:
        chances = (apart * weights).astype(np.float64)
        if not chances.sum() > 0:
            break
        drawn = rng.choice(len(rows), trials if seeds else 1, p=chances / chances.sum())
        squared = np.stack([((rows - rows[row]) ** 2).sum(axis=1) for row in drawn])
        squared = np.minimum(squared, apart) if seeds else squared
        best = int((squared @ weights).argmin())
        seeds.append(int(drawn[best]))
        apart = squared[best]
    return seeds


def _nearest(rows: Rows, centres: Rows) -> NDArray[np.intp]:
    norms = (centres**2).sum(axis=1) / 2
    parts = [
        (rows[start : start + BLOCK] @ centres.T - norms).argmax(axis=1)
        for start in range(0, len(rows), BLOCK)
    ]
    return np.concatenate(parts)
