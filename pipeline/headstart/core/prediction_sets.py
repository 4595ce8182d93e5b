"""Sets of classes that hold the true one as often as promised: from probabilities to sets.

`headstart.evaluation.conformal` chooses the thresholds; model files carry them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import SETS

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class SetRule:
    """How sets are made.

    Attributes:
        level: the share of images whose set holds the true class.
        mass: a class is in the adaptive set if the classes that are more probable have at most this
            probability together.
        least: the least probability with which each class is in the set by class.
    """

    level: float
    mass: float
    least: tuple[float, ...]

    def sets(self, probabilities: NDArray[np.floating], kind: str) -> Masks:
        """Return which classes are in each set, ``(n, k)``; the most probable one always is."""
        masks = (
            mass_above(probabilities) <= self.mass
            if kind == SETS[0]
            else probabilities >= np.asarray(self.least)
        )
        masks[np.arange(len(masks)), probabilities.argmax(axis=1)] = True
        return masks


def mass_above(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return for each class, ``(n, k)``, the probability of all classes that are more probable."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1).astype(np.float64)
    above = np.zeros(probabilities.shape)
    np.put_along_axis(above, order, np.cumsum(ranked, axis=1) - ranked, axis=1)
    return above
