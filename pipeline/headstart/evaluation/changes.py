"""What changes from one model to another: the paired difference, and every other answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.core.assessment import Change, ClassChange, PairedDifference
from headstart.evaluation import metrics
from headstart.evaluation.answers import Answers


def compare(
    paths: Sequence[str],
    true: Sequence[str],
    model: Answers,
    other: Answers,
    group: NDArray[np.intp] | None,
) -> PairedDifference:
    """Compare a model with another one on the same images, by the exact test of McNemar."""
    after, before = (
        np.array([a == b for a, b in zip(answers.predicted, true, strict=True)])
        for answers in (model, other)
    )
    (compared,) = metrics.compare_with(before, [after], group)
    side = "better" if compared.difference > 0 else "worse"
    labels = np.array(true, object)
    return PairedDifference(
        difference=compared.difference,
        difference_ci=compared.interval,
        p=compared.p,
        visible_difference=compared.visible,
        verdict=side if compared.decided else "tie",
        by_class=[
            ClassChange(
                label,
                images=int(own.sum()),
                gains=int((own & after & ~before).sum()),
                losses=int((own & before & ~after).sum()),
                recall_before=float(before[own].mean()),
                recall_after=float(after[own].mean()),
            )
            for label in dict.fromkeys(sorted(true))
            for own in [labels == label]
        ],
        changes=[
            Change(
                paths[row],
                true[row],
                other.predicted[row],
                model.predicted[row],
                "gain" if after[row] else "loss" if before[row] else "other",
                other.confidence(row),
                model.confidence(row),
            )
            for row in range(len(true))
            if model.predicted[row] != other.predicted[row]
        ],
    )
