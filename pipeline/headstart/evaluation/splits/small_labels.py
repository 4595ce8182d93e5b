"""Labels that few images have, or lack: every fold needs some of both to fit on and to hold out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, count, one_line
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits.config import DROP, ERROR, Rules
from headstart.evaluation.splits.wording import NAMED


class Allowed(NamedTuple):
    """Which labels can be learned, ``(k,)``, and the folds that they allow."""

    kept: NDArray[np.bool_]
    folds: int
    warnings: list[Remark]


def check_labels(
    labels: NDArray[np.int8], groups: Partition | None, names: Sequence[str], rules: Rules
) -> Allowed:
    """Apply the rule for small classes to each label of the training images, ``(n, k)``.

    A label needs images with it and images without it, in two groups each at least; others are
    left out with a warning. Where fewer groups than folds have (or lack) a label, the rule says
    whether there are fewer folds, an error, or the label is left out.

    Raises:
        InputError: no label can be learned, or the rule forbids one that is so rare.
    """
    fewest = np.minimum(_groups_with(labels == 1, groups), _groups_with(labels == 0, groups))
    usable = fewest >= 2
    small = usable & (fewest < rules.folds)
    if rules.small_classes == ERROR and not (usable & ~small).all():
        rare = _named(names, np.flatnonzero(~usable | small))
        raise InputError(
            f"fewer than {rules.folds} training images have, or lack, the label {rare}; add images,"
            " use fewer --folds, or choose --small-classes reduce or drop"
        )
    constant = _about_constant(labels, usable, names)
    warnings = [remark("HS605", f"Left out, because {reason}.") for reason in constant]
    if rules.small_classes == DROP and small.any():
        warnings.append(
            remark(
                "HS321",
                f"Left out, because fewer than {rules.folds} training images have, or lack, the"
                f" label: {_named(names, np.flatnonzero(small))}.",
            )
        )
        usable &= ~small
    if not usable.any():
        reasons = f" ({'; '.join(constant)})" if constant else ""
        raise InputError(
            "no label can be learned: each needs training images with it and without it, two of"
            f" both at least (groups count once); add images or correct the labels{reasons}"
        )
    folds = min(rules.folds, int(fewest[usable].min()))
    if folds < rules.folds:
        rarest = np.flatnonzero(usable & (fewest == folds))
        warnings.append(
            remark(
                "HS322",
                f"Cross-validation uses {folds} folds, because so few training images (groups count"
                f" once) have, or lack, the label {_named(names, rarest)}.",
            )
        )
    return Allowed(usable, folds, warnings)


def _about_constant(
    labels: NDArray[np.int8], usable: NDArray[np.bool_], names: Sequence[str]
) -> list[str]:
    """Return each reason why labels cannot be learned, with the labels."""
    present, absent = (labels == 1).any(axis=0), (labels == 0).any(axis=0)
    reasons = {
        "no training image has the label": ~present & absent,
        "every training image has the label": present & ~absent,
        "it is unknown for every training image": ~present & ~absent,
        "a single training image (groups count once) has, or lacks, the label": present
        & absent
        & ~usable,
    }
    return [
        f"{reason}: {_named(names, np.flatnonzero(where))}"
        for reason, where in reasons.items()
        if where.any()
    ]


def _groups_with(marks: NDArray[np.bool_], groups: Partition | None) -> NDArray[np.int64]:
    """Count the groups with a marked image, for each label."""
    if groups is not None:
        numbers = np.unique(groups, return_inverse=True)[1]
        of_group = np.zeros((int(numbers.max(initial=-1)) + 1, marks.shape[1]), bool)
        np.logical_or.at(of_group, numbers, marks)
        marks = of_group
    counts: NDArray[np.int64] = marks.sum(axis=0)
    return counts


def _named(names: Sequence[str], columns: NDArray[np.intp]) -> str:
    """Name up to three labels, and count the others."""
    shown = ", ".join(one_line(names[column]) for column in columns[:NAMED])
    return shown if len(columns) <= NAMED else f"{shown} and {count(len(columns) - NAMED, 'other')}"
