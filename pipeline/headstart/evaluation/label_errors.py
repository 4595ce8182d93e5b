"""Label errors, found by confident learning with cleanlab."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelErrors:
    """Verdicts on the labels of ``n`` images.

    Attributes:
        quality: ``(n,)`` 0 to 1, the probability of the given label; small is suspicious.
        suggested: ``(n,)`` codes of the most probable other class.
        suspects: rows of the images that are probably mislabelled, most suspicious first.
    """

    quality: NDArray[np.float64]
    suggested: NDArray[np.int64]
    suspects: NDArray[np.intp]


def find(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> LabelErrors:
    """Rank images by how little their labels agree with out-of-fold probabilities, ``(n, k)``.

    The ranking is cleanlab's self-confidence, the probability of the given label; its estimate of
    the number of errors, from the confident joint, says how many are suspects. Source: Northcutt,
    Jiang and Chuang, *Confident Learning: Estimating Uncertainty in Dataset Labels*, JAIR 70, 2021.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    codes, label = np.unique(labels, return_inverse=True)
    of_codes = probabilities[:, codes].astype(np.float64)
    of_codes /= of_codes.sum(axis=1, keepdims=True)
    quality = get_label_quality_scores(label, of_codes, method="self_confidence")
    suspects = find_label_issues(
        label,
        of_codes,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    others = of_codes.copy()
    others[np.arange(len(label)), label] = -1
    return LabelErrors(quality, codes[others.argmax(axis=1)].astype(np.int64), suspects)
