"""What answers cost by a table of costs, and what deciding by expected cost saves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.costs import Costs
from headstart.core.results import CostScores
from headstart.evaluation.metrics.design import Design, Groups


def measure(
    table: Costs,
    true: NDArray[np.integer],
    predicted: NDArray[np.integer],
    probabilities: NDArray[np.floating] | None,
    group: Groups = None,
    worth: float = 1.0,
) -> CostScores:
    """Return the mean costs of ``(n,)`` answers, and of those decided by ``(n, k)`` probabilities.

    Images with equal numbers in ``group`` are not independent; ``worth`` is that of an answer, see
    `Design`.
    """
    before = table.matrix[true, predicted]
    if probabilities is None:
        return CostScores(float(before.mean()))
    codes = table.decide(probabilities)
    saved = before - table.matrix[true, codes]
    design = Design.of(codes == predicted, group, worth)
    mean, n = float(saved.mean()), len(saved)
    # One image more that saves or loses as much as any: few changed answers would seem certain.
    square = (float(np.sum((saved - mean) ** 2)) + float(np.abs(saved).max()) ** 2) / n
    reach = design.quantile(degrees=max(n - 1, 1)) * np.sqrt(
        design.effect(saved - mean) * square / n
    )
    return CostScores(
        cost=float(before.mean()),
        decided=float(before.mean()) - mean,
        saved=mean,
        saved_ci=(float(mean - reach), float(mean + reach)),
        accuracy=float((codes == true).mean()),
    )
