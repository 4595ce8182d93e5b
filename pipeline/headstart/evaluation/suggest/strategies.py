"""Ways to choose images to label from those without a label: pure functions of arrays.

- ``uncertainty``: the images that the model is least sure of, and no two alike: k-means clusters of
  the `AHEAD` times as many images of the least margin, weighted by doubt; the image nearest to each
  centre. Zhdanov, *Diverse mini-batch Active Learning*, 2019. Clusters of images of least margin
  are also those of Citovsky et al., *Batch Active Learning at Scale*, NeurIPS 2021.
- ``diverse``: the images nearest to the centres of as many clusters as there are labels then, from
  the clusters that no labelled image is in.
- ``typical``: the same clusters, but the image of each that is closest to its neighbours, large
  clusters first: Hacohen, Dekel and Weinshall, *Active Learning on a Budget*, ICML 2022.
- ``random``: drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.suggest.clusters import Rows, cluster, nearest_to

AHEAD = 10
NEIGHBOURS = 20  # that say how typical an image is
MOST = 20_000  # images that are clustered; of more, a random sample
MOST_CLUSTERS = 1000
LARGE = 2000  # images of a cluster among which the most typical one is sought

Chosen = NDArray[np.intp]


@dataclass(frozen=True)
class Candidates:
    """Images to choose from.

    Attributes:
        rows: ``(n, d)``, on the main axes.
        labelled: ``(m, d)``, the labelled images on the same axes.
        margins: ``(n,)``, 0 where the model is in doubt and 1 where it is sure; None without one.
    """

    rows: Rows
    labelled: Rows
    margins: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.rows)


def uncertain(candidates: Candidates, count: int, rng: np.random.Generator) -> Chosen:
    """Choose images of small margins, spread over their clusters; the least certain first."""
    assert candidates.margins is not None
    apart = candidates.margins
    near = np.argsort(apart, kind="stable")[: AHEAD * count]
    doubt = (1 - apart[near]).astype(np.float32) + 1e-6
    rows = candidates.rows[near]
    clusters = cluster(rows, count, rng, doubt)
    chosen = near[nearest_to(clusters.centres, rows)]
    chosen = _filled(chosen, near, count)
    return chosen[np.argsort(apart[chosen], kind="stable")]


def diverse(candidates: Candidates, count: int, rng: np.random.Generator) -> Chosen:
    """Choose the centres of the largest clusters without labelled images."""
    pool, rows, order, _, centres = _uncovered(candidates, count, rng)
    chosen = pool[nearest_to(centres[order[:count]], rows)]
    return _filled(chosen, rng.permutation(len(candidates)), count)


def typical(candidates: Candidates, count: int, rng: np.random.Generator) -> Chosen:
    """Choose the most typical image of the largest clusters without labelled images."""
    pool, rows, order, member, _ = _uncovered(candidates, count, rng)
    chosen = []
    for number in order[:count]:
        inside = np.flatnonzero(member == number)[:LARGE]
        chosen.append(int(pool[inside[_typicality(rows[inside]).argmax()]]))
    return _filled(np.array(chosen, np.intp), rng.permutation(len(candidates)), count)


def drawn(candidates: Candidates, count: int, rng: np.random.Generator) -> Chosen:
    """Choose at random."""
    chosen: Chosen = rng.choice(len(candidates), count, replace=False)
    return chosen


STRATEGIES = {"uncertainty": uncertain, "diverse": diverse, "typical": typical, "random": drawn}


def _uncovered(
    candidates: Candidates, count: int, rng: np.random.Generator
) -> tuple[Chosen, Rows, Chosen, Chosen, Rows]:
    """Return clusters of a sample of the candidates and of the labelled images.

    The sample's rows among the candidates, the sample, the numbers of the clusters with candidates,
    those of fewest labelled images first and large ones before small ones, the cluster of each row
    of the sample, and the centres.
    """
    pool = np.arange(len(candidates))
    if len(pool) > MOST:
        pool = np.sort(rng.choice(pool, MOST, replace=False))
    rows, labelled = candidates.rows[pool], candidates.labelled[:MOST]
    everything = np.concatenate([rows, labelled]) if len(labelled) else rows
    number = count + min(len(labelled), max(0, MOST_CLUSTERS - count))
    clusters = cluster(everything, min(number, len(everything)), rng)
    k = len(clusters.centres)
    sizes = np.bincount(clusters.member[: len(rows)], minlength=k)
    covered = np.bincount(clusters.member[len(rows) :], minlength=k)
    order = np.lexsort((-sizes, covered))
    return pool, rows, order[sizes[order] > 0], clusters.member[: len(rows)], clusters.centres


def _typicality(rows: Rows) -> NDArray[np.float64]:
    """Return the inverse of the mean distance to the nearest rows, ``(n,)``."""
    if len(rows) < 3:
        return np.ones(len(rows))
    norms = (rows**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * rows @ rows.T, 0)
    nearest = np.sort(np.sqrt(squared), axis=1)[:, 1 : NEIGHBOURS + 1]
    return np.asarray(1 / (nearest.mean(axis=1) + 1e-9), np.float64)


def _filled(chosen: Chosen, others: Chosen, count: int) -> Chosen:
    """Return the chosen rows, with the first of the others where they are too few."""
    rest = others[~np.isin(others, chosen)]
    return np.concatenate([chosen, rest])[:count].astype(np.intp)
