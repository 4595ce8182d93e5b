"""Warnings about the data that a reader of the results must see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation.groups import Partition

BLOCK = 4096  # rows that are checked at once
NARROW = 2  # features an image that tell few classes apart, whatever the labels
_SAME = 1e-4  # of features of rows of norm 1: differences that are rounding, or nearly


def check_features(data: FeatureSet) -> list[Remark]:
    """Check the features of all labelled images; a warning if they tell nothing, or little.

    Raises:
        InputError: features are NaN, infinite or too large; the message names an image.
    """
    labelled = np.flatnonzero(data.label >= 0)
    bad: list[int] = []
    low, high = np.full((2, data.features.shape[1]), [[np.inf], [-np.inf]])
    for start in range(0, len(labelled), BLOCK):
        block = labelled[start : start + BLOCK]
        rows = data.features[block]
        squared = _squared_norms(rows)
        finite = np.isfinite(squared)
        bad += block[~finite].tolist()
        norms = np.sqrt(squared)[:, None]
        directions = np.divide(
            rows, norms, out=np.zeros_like(rows), where=finite[:, None] & (norms > 0)
        )
        low, high = (
            np.minimum(low, directions.min(axis=0)),
            np.maximum(high, directions.max(axis=0)),
        )
    if bad:
        others = f", and so have {len(bad) - 1:,} more images" if len(bad) > 1 else ""
        raise InputError(
            f"{one_line(data.path[bad[0]])} has features that are NaN, infinite or too large"
            f"{others}; extract the features again"
        )
    spread, width = float((high - low).max()), data.features.shape[1]
    advice = f"The features of {_layer(data)} are at fault, not the labels: take another layer or"
    if spread < _SAME:
        same = "the same" if spread < _SAME / 100 else "nearly the same"
        return [
            remark(
                "HS341",
                f"All images have {same} normalised features, so no head can do better than"
                f" chance. {advice} backbone, and run headstart features again.",
            )
        ]
    if width <= NARROW:
        return [
            remark(
                "HS342",
                f"Each image has {count(width, 'feature')} only, which tell few classes apart, so"
                f" low scores and doubtful labels say nothing. {advice} backbone, and run headstart"
                " features again.",
            )
        ]
    return []


def _layer(data: FeatureSet) -> str:
    """Name the backbone and the layer of features."""
    backbone = data.extraction.get("backbone", {})
    layer, name = backbone.get("layer", ""), backbone.get("name", "an unknown backbone")
    return one_line(f"{name}, layer {layer}," if layer else name)


def about_rows(data: FeatureSet) -> list[Remark]:
    """Return warnings about images that are left out."""
    warnings = []
    if missing := int(np.sum(data.label < 0)):
        text = f"Left out, because they have no label: {count(missing, 'image')}."
        warnings.append(remark("HS331", text))
    if data.failures:
        path, reason = data.failures[0]
        first = ", the first of them " if len(data.failures) > 1 else ", "
        warnings.append(
            remark(
                "HS332",
                f"{count(len(data.failures), 'image')} could not be used{first}"
                f"{one_line(path)}: {one_line(reason)}.",
            )
        )
    return warnings


def about_suggested(
    data: FeatureSet, train: NDArray[np.intp], test: NDArray[np.intp]
) -> list[Remark]:
    """Say what becomes of the images that `suggest` chose; nothing if there are none."""
    chosen = data.is_suggested
    number, scored = int(chosen[train].sum()), int(chosen[test].sum())
    if not number + scored:
        return []
    if scored:
        return [
            remark(
                "HS807",
                f"{count(scored, 'scored image')} of {len(test):,}"
                f" {'was' if scored == 1 else 'were'} chosen by headstart suggest, and chosen"
                " images are no random sample: scores on new images may differ. Label some images"
                " that were drawn at random.",
            )
        ]
    return [
        remark(
            "HS806",
            f"{count(number, 'training image')} {'was' if number == 1 else 'were'} chosen by"
            " headstart suggest. They are trained on and never scored, because chosen images are no"
            " random sample.",
        )
    ]


def about_leakage(
    train: NDArray[np.intp], test: NDArray[np.intp], partitions: Mapping[str, Partition]
) -> list[Remark]:
    """Return a warning for each partition that connects training and test images.

    A test image counts for the first partition that connects it.
    """
    warnings = []
    counted = np.zeros(len(test), bool)
    for kind, partition in partitions.items():
        leaked = np.isin(partition[test], partition[train]) & ~counted
        counted |= leaked
        number = int(leaked.sum())
        if number:
            warnings.append(
                remark(
                    "HS311",
                    f"Leakage: {count(number, 'test image')} (of {len(test):,})"
                    f" {'has' if number == 1 else 'have'} {kind} among the training images, which"
                    " inflates the test accuracy.",
                )
            )
    return warnings


def about_validation(group: Partition, held_out: NDArray[np.bool_]) -> list[Remark]:
    """Return a warning if the validation split, ``held_out`` of the training images, leaks."""
    leaked = int(np.isin(group[held_out], group[~held_out]).sum())
    if not leaked:
        return []
    return [
        remark(
            "HS312",
            f"Leakage: {count(leaked, 'validation image')} (of {int(held_out.sum()):,})"
            f" {'shares' if leaked == 1 else 'share'} a group with images that heads are fitted on,"
            " so the selection is biased towards heads that memorise.",
        )
    ]


def _squared_norms(features: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float32] = np.einsum("ij,ij->i", features, features)
        return norms
