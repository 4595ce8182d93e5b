"""Plain sentences about the data that a reader of the results must see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.records import FeatureSet
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits.wording import count

BLOCK = 4096  # rows that are looked at together


def check_features(data: FeatureSet) -> list[str]:
    """Look at the features of all labelled images.

    Returns:
        A warning if they say nothing.

    Raises:
        InputError: those of some image are NaN, infinite or too large; the message names it.
    """
    labelled = np.flatnonzero(data.label >= 0)
    bad: list[int] = []
    low, high = np.full((2, data.features.shape[1]), [[np.inf], [-np.inf]])
    for start in range(0, len(labelled), BLOCK):
        at = labelled[start : start + BLOCK]
        rows = data.features[at]
        squared = _squared_norms(rows)
        finite = np.isfinite(squared)
        bad += at[~finite].tolist()
        norms = np.sqrt(squared)[:, None]
        directions = np.divide(
            rows, norms, out=np.zeros_like(rows), where=finite[:, None] & (norms > 0)
        )
        low, high = (
            np.minimum(low, directions.min(axis=0)),
            np.maximum(high, directions.max(axis=0)),
        )
    if bad:
        others = f" and so have {len(bad) - 1:,} more images" if len(bad) > 1 else ""
        raise InputError(
            f"{one_line(data.path[bad[0]])} has features that are NaN, infinite or too large"
            f"{others};"
            " extract the features again"
        )
    if (high - low).max() >= 1e-6:
        return []
    return [
        "All images have the same features once they are normalised, so no head can do better"
        " than chance."
    ]


def about_rows(data: FeatureSet) -> list[str]:
    """Return warnings about images that take no part."""
    warnings = []
    if missing := int(np.sum(data.label < 0)):
        warnings.append(f"Left out, because they have no label: {count(missing, 'image')}.")
    if data.failures:
        path, reason = data.failures[0]
        warnings.append(
            f"{count(len(data.failures), 'image')} could not be used, the first of them"
            f" {one_line(path)}: {one_line(reason)}."
        )
    return warnings


def about_leaks(
    train: NDArray[np.intp], test: NDArray[np.intp], related: Mapping[str, Partition]
) -> list[str]:
    """Return a warning for each kind of relation that leads from training to test images.

    A test image counts for the first kind that applies to it.
    """
    warnings = []
    told = np.zeros(len(test), bool)
    for kind, partition in related.items():
        leaks = np.isin(partition[test], partition[train]) & ~told
        told |= leaks
        leaked = int(leaks.sum())
        if leaked:
            warnings.append(
                f"The training images hold {kind} of {count(leaked, 'test image')} (of"
                f" {len(test):,}): the test accuracy is too high by what they add. It is given"
                " without them too."
            )
    return warnings


def about_validation(group: Partition, held_out: NDArray[np.bool_]) -> list[str]:
    """Return a warning if heads are chosen on images that they have as good as seen.

    Args:
        group: ``(n_train,)`` which training images belong together.
        held_out: ``(n_train,)`` which of them are the validation split.
    """
    known = int(np.isin(group[held_out], group[~held_out]).sum())
    if not known:
        return []
    return [
        f"{count(known, 'validation image')} (of {int(held_out.sum()):,}) belong together with"
        " images that heads are fitted on: the choice leans towards heads that remember."
    ]


def _squared_norms(features: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float32] = np.einsum("ij,ij->i", features, features)
        return norms
