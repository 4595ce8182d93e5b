"""Labels that are probably wrong, by confident learning. Sole user of cleanlab."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelErrors:
    """What the predictions say of the labels, for the same ``n`` images.

    Attributes:
        quality: ``(n,)`` 0 to 1, how far the given label can be right; small is suspicious.
        suggested: ``(n,)`` codes of the most probable other class.
        suspects: rows of the images that are probably mislabelled, most suspicious first.
    """

    quality: NDArray[np.float64]
    suggested: NDArray[np.int64]
    suspects: NDArray[np.intp]


def find(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> LabelErrors:
    """Rank images by how little their label agrees with predictions made without them.

    The ranking is cleanlab's self-confidence, the probability of the given label; how many of the
    ranked images are suspects is its estimate of the number of errors from the confident joint.
    Source: Northcutt, Jiang and Chuang, *Confident Learning: Estimating Uncertainty in Dataset
    Labels*, JAIR 70, 2021.

    Args:
        labels: ``(n,)`` given codes.
        probabilities: ``(n, k)`` out-of-fold: each row from a model that has not seen the image.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    codes, label = np.unique(labels, return_inverse=True)
    known = probabilities[:, codes].astype(np.float64)
    known /= known.sum(axis=1, keepdims=True)
    quality = get_label_quality_scores(label, known, method="self_confidence")
    suspects = find_label_issues(
        label,
        known,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    others = known.copy()
    others[np.arange(len(label)), label] = -1
    return LabelErrors(quality, codes[others.argmax(axis=1)].astype(np.int64), suspects)
