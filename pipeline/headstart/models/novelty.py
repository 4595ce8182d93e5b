"""How far an image is from the training images of a classifier.

Measures the cosine distance to the k-th nearest training image (Sun et al., *Out-of-Distribution
Detection with Deep Nearest Neighbors*, ICML 2022), among a bounded number drawn evenly from all
classes. An image beyond a threshold is unlike the training set. The threshold is a quantile of the
training images' own distances, each to images outside its group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.linalg import normalise
from headstart.core.rows import Features

NEIGHBOURS = 5
QUANTILE = 0.99  # 1 in 100 images like the training set is marked
MAX_REFERENCE = 1_000  # training images kept; more only for many classes
MAX_CALIBRATION = 10_000
METHOD = "cosine distance to the k-th nearest training image (Sun et al., ICML 2022)"
_BLOCK = 1024


@dataclass(frozen=True)
class Reference:
    """Training images to measure distances to.

    Attributes:
        rows: ``(m, d) float16`` features with norm 1; computations are in float32.
        threshold: the cosine distance beyond which an image is unlike the training set.
        quantile: the share of training images within it.
    """

    rows: NDArray[np.float16]
    neighbours: int
    threshold: float
    quantile: float

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the ``(n,)`` cosine distances of ``(n, d)`` features, 0 to 2."""
        return _distances(normalise(features), self.rows, self.neighbours)


def learn(
    features: Features,
    labels: NDArray[np.integer],
    group: NDArray[np.integer],
    seed: int = 0,
) -> Reference | None:
    """Draw the images to keep and calibrate the threshold, from ``(n, d)`` features.

    Images with equal numbers in ``group``, such as duplicates, are not compared. Returns None if
    all images belong to one group, so that no distance can be measured.
    """
    rng = np.random.default_rng(seed)
    kept = _draw(labels, max(MAX_REFERENCE, 2 * len(np.unique(labels))), rng)
    rows = normalise(features[kept]).astype(np.float16)
    queries = np.arange(len(features))
    if len(queries) > MAX_CALIBRATION:
        queries = np.sort(rng.choice(queries, MAX_CALIBRATION, replace=False))
    apart = len(kept) - np.unique(group[kept], return_counts=True)[1].max()
    if apart < 1:
        return None
    neighbours = int(min(NEIGHBOURS, apart))
    own = _distances(normalise(features[queries]), rows, neighbours, group[queries], group[kept])
    return Reference(rows, neighbours, float(np.quantile(own, QUANTILE)), QUANTILE)


def _draw(labels: NDArray[np.integer], limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows to keep: one of every class, then a second of every class, and so on."""
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    kept: NDArray[np.intp] = np.sort(order[np.argsort(turn[order], kind="stable")][:limit])
    return kept


def _distances(
    rows: NDArray[np.float32],
    reference: NDArray[np.float16],
    neighbours: int,
    group: NDArray[np.integer] | None = None,
    reference_group: NDArray[np.integer] | None = None,
) -> NDArray[np.float32]:
    columns = reference.astype(np.float32).T
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        here = slice(start, start + _BLOCK)
        cosine = rows[here] @ columns
        if group is not None and reference_group is not None:
            cosine[group[here, None] == reference_group] = -1.0
        out[here] = 1 - np.partition(cosine, -neighbours, axis=1)[:, -neighbours]
    return out
