"""The probability from which on an image counts as having a label, chosen for each label.

It is chosen on out-of-fold probabilities, where no image played a part in its own. With calibrated
probabilities, the threshold of the best F1 is about half that F1, so 0.5 misses rare labels:
Lipton, Elkan and Naryanaswamy, *Optimal Thresholding of Classifiers to Maximize F1 Measure*, 2014.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError

F1, PRECISION, RECALL = RULES = ("f1", "precision", "recall")
UNDECIDED = 0.5  # of a label that no image, or every image, has


class Rule(NamedTuple):
    """How thresholds are chosen.

    Attributes:
        kind: ``f1`` for the best F1; ``precision`` for the largest recall whose precision is at
            least ``target``; ``recall`` for the largest precision whose recall is at least that.
        target: 0 to 1; the best F1 needs none.
    """

    kind: str = F1
    target: float = 0.0


class Thresholds(NamedTuple):
    """A label is present if its probability is at least its threshold; ``(k,)`` each.

    Attributes:
        values: halfway between two probabilities, so rounding errors change no decision.
        reached: whether the rule's target is reached on the images that it was chosen on; False
            too for a label of no image. The threshold is then that of the nearest value.
    """

    values: NDArray[np.float64]
    reached: NDArray[np.bool_]


def thresholds(
    labels: NDArray[np.int8], probabilities: NDArray[np.floating], rule: Rule
) -> Thresholds:
    """Choose each label's threshold on out-of-fold probabilities; rows with NaN do not count.

    Of equally good thresholds, the largest is chosen, which predicts the label least often.

    Raises:
        InputError: the rule's kind is unknown, or its target is not between 0 and 1.
    """
    if rule.kind not in RULES:
        raise InputError(f"thresholds cannot be chosen by {rule.kind}; use {', '.join(RULES)}")
    if not 0 <= rule.target <= 1:
        raise InputError(f"the least {rule.kind} must be between 0 and 1, not {rule.target}")
    pairs = []
    for label in range(labels.shape[1]):
        rows = (labels[:, label] >= 0) & np.isfinite(probabilities[:, label])
        pairs.append(_choose(labels[rows, label], probabilities[rows, label], rule))
    values, reached = zip(*pairs, strict=True)
    return Thresholds(np.array(values, float), np.array(reached, bool))


def _choose(
    labels: NDArray[np.int8], probabilities: NDArray[np.floating], rule: Rule
) -> tuple[float, bool]:
    positives = int((labels == 1).sum())
    if positives == 0:
        return UNDECIDED, False
    if positives == len(labels):
        return UNDECIDED, True
    values, places = np.unique(-probabilities.astype(np.float64), return_inverse=True)
    hits = np.cumsum(np.bincount(places, labels == 1))
    predicted = np.cumsum(np.bincount(places))
    precision, recall = hits / predicted, hits / positives
    f1 = 2 * hits / (predicted + positives)
    least = rule.target - 1e-12
    if rule.kind == PRECISION:
        allowed, first, second = precision >= least, recall, precision
        fallback = (precision, recall)
    elif rule.kind == RECALL:
        allowed, first, second = recall >= least, precision, recall
        fallback = (recall, precision)
    else:
        allowed, first, second = np.ones(len(f1), bool), f1, precision
        fallback = (f1, precision)
    reached = bool(allowed.any())
    if not reached:
        allowed, (first, second) = np.ones(len(f1), bool), fallback
    # The last key counts most; of equals the first place, the largest threshold.
    places = np.flatnonzero(allowed)
    best = places[np.lexsort((places, -second[places], -first[places]))[0]]
    below = -values[best + 1] if best + 1 < len(values) else 0.0
    return float((-values[best] + below) / 2), reached
