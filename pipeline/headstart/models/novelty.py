"""How far an image is from the training images of a classifier.

Measures the cosine distance to the k-th nearest training image (Sun et al., *Out-of-Distribution
Detection with Deep Nearest Neighbors*, ICML 2022), among a bounded number drawn evenly from all
classes. An image beyond a threshold is unlike the training set. The threshold is a quantile of the
training images' own distances, each to images outside its group. That mark finds images of another
kind; a new class of the same kind is often as near as the known ones. A second mark, `Unusual`,
adds how unsure the classifier is.
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
UNUSUAL_QUANTILE = 0.95  # 1 in 20 images like the training set is marked as unusual
UNSURE = 0.5  # weight of the doubt, in standard deviations: docs/decisions/0153
LEAST = 1e-12  # probability
METHOD = "cosine distance to the k-th nearest training image (Sun et al., ICML 2022)"
_BLOCK = 1024


@dataclass(frozen=True)
class Unusual:
    """Distance and doubt together, and the threshold beyond which an image is unusual.

    Attributes:
        distance: weight of the distance; ``doubt`` that of the negative logarithm of the highest
            probability.
        threshold: of the weighted sum, the ``quantile`` of the training images' own, with
            probabilities by models that were not fitted on them.
    """

    distance: float
    doubt: float
    threshold: float
    quantile: float

    def marks(
        self, distance: NDArray[np.floating], probabilities: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Return whether each image, ``(n,)`` and ``(n, k)``, is unusual."""
        marked: NDArray[np.bool_] = self.oddness(distance, probabilities) > self.threshold
        return marked

    def oddness(
        self, distance: NDArray[np.floating], probabilities: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the weighted sum of distance and doubt of each image."""
        total: NDArray[np.float64] = self.distance * distance + self.doubt * _doubt(probabilities)
        return total

    @classmethod
    def learn(
        cls, distance: NDArray[np.floating], probabilities: NDArray[np.floating]
    ) -> Unusual | None:
        """Weight both by their spread over training images; None if neither varies."""
        spreads = float(np.std(distance)), float(np.std(_doubt(probabilities)))
        if max(spreads) < LEAST:
            return None
        near, sure = (1 / spread if spread >= LEAST else 0.0 for spread in spreads)
        plain = cls(near, UNSURE * sure, 0.0, UNUSUAL_QUANTILE)
        threshold = float(np.quantile(plain.oddness(distance, probabilities), UNUSUAL_QUANTILE))
        return cls(near, UNSURE * sure, threshold, UNUSUAL_QUANTILE)


def _doubt(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    doubt: NDArray[np.float64] = -np.log(np.maximum(probabilities.max(axis=1), LEAST))
    return doubt


@dataclass(frozen=True)
class Reference:
    """Training images to measure distances to.

    Attributes:
        rows: ``(m, d) float16`` features with norm 1; computations are in float32.
        threshold: the cosine distance beyond which an image is unlike the training set.
        quantile: the share of training images within it.
        unusual: the second mark; None without probabilities to learn it from.
        own: ``(n,)``, distances of training images, each to images outside its group.
    """

    rows: NDArray[np.float16]
    neighbours: int
    threshold: float
    quantile: float
    unusual: Unusual | None = None
    own: NDArray[np.float32] | None = None

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the ``(n,)`` cosine distances of ``(n, d)`` features, 0 to 2."""
        return _distances(normalise(features), self.rows, self.neighbours)


def learn(
    features: Features,
    labels: NDArray[np.integer],
    group: NDArray[np.integer],
    seed: int = 0,
    out_of_fold: NDArray[np.floating] | None = None,
) -> Reference | None:
    """Draw the images to keep and calibrate the thresholds, from ``(n, d)`` features.

    ``out_of_fold``, ``(n, k)``, are each image's probabilities by models that were not fitted on
    it, NaN where there are none. Images with equal numbers in ``group``, such as duplicates, are
    not compared. Returns None if all images belong to one group, so that no distance can be
    measured.
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
    unusual = None
    if out_of_fold is not None and len(out_of_fold):
        answers = out_of_fold[queries]
        judged = np.isfinite(answers).all(axis=1)
        unusual = Unusual.learn(own[judged], answers[judged]) if judged.any() else None
    threshold = float(np.quantile(own, QUANTILE))
    return Reference(rows, neighbours, threshold, QUANTILE, unusual, own)


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
    return np.maximum(out, 0)  # rounding makes the distance to the same image negative
