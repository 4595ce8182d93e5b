"""What the classes allow: every fold must have images of each class to fit on and to hold out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits.config import DROP, ERROR, Rules
from headstart.evaluation.splits.wording import class_names, count


class Allowed(NamedTuple):
    """What is left to work with.

    Attributes:
        train: training rows without those of classes that were dropped.
        test: test rows, the same.
        folds: the number of folds that the smallest class allows.
        warnings: what a reader must know about classes.
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    folds: int
    warnings: list[str]


def check_classes(
    data: FeatureSet,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    group: Partition,
    rules: Rules,
) -> Allowed:
    """Apply the rule for small classes.

    Images that belong together are in one fold, so a class counts by its groups.

    Args:
        data: the features.
        train: training rows.
        test: test rows.
        group: ``(n,)`` which rows of ``data`` belong together.
        rules: the wanted folds, and what becomes of a class that has not enough images.

    Raises:
        InputError: fewer than two classes can be trained on, or a class is too small and the rule
            does not allow for it.
    """
    warnings = []
    if rules.small_classes == DROP:
        dropped = np.flatnonzero(_too_small(data, train, group, rules.folds))
        if len(dropped):
            train, test = (rows[~np.isin(data.label[rows], dropped)] for rows in (train, test))
            warnings.append(
                f"Left out, because they have fewer than {rules.folds} training images:"
                f" {class_names(data, dropped)}."
            )
            if len(np.unique(data.label[train])) < 2:
                raise InputError(
                    f"fewer than two classes have {rules.folds} training images or more; add"
                    " images, use fewer --folds, or choose --small-classes reduce"
                )
    else:
        dropped = np.array([], np.intp)
    _check_each_class(data, train, group, rules)
    warnings += _about_absent(data, train, test, dropped)
    folds, about_folds = _folds_allowed(data, train, group, rules.folds)
    return Allowed(train, test, folds, [*warnings, *about_folds])


def _too_small(
    data: FeatureSet, train: NDArray[np.intp], group: Partition, folds: int
) -> NDArray[np.bool_]:
    """Say which classes have training images, but too few for the folds, ``(k,)``."""
    units = units_of(data, train, group)
    return (units > 0) & (units < folds)


def units_of(data: FeatureSet, rows: NDArray[np.intp], group: Partition) -> NDArray[np.intp]:
    """Count the groups of images of each class, ``(k,)``."""
    pairs = np.unique(np.column_stack([data.label[rows], group[rows]]), axis=0)
    units: NDArray[np.intp] = np.bincount(pairs[:, 0], minlength=len(data.classes))
    return units


def _check_each_class(
    data: FeatureSet, train: NDArray[np.intp], group: Partition, rules: Rules
) -> None:
    images = np.bincount(data.label[train], minlength=len(data.classes))
    known = np.flatnonzero(images)
    if len(known) == 1:
        raise InputError(
            f"all training images are of the class {class_names(data, known)}; a classifier needs"
            " two classes or more: add images of another class"
        )
    single = np.flatnonzero(images == 1)
    if len(single):
        one = len(single) == 1
        raise InputError(
            f"{class_names(data, single)} {'has' if one else 'have'} 1 training image"
            f"{'' if one else ' each'}; add images or remove the class{'' if one else 'es'}"
            " (--small-classes drop does)"
        )
    together = np.flatnonzero(units_of(data, train, group) == 1)
    if len(together):
        raise InputError(
            f"the training images of {class_names(data, together)} all belong together (copies, or"
            " one group), so there is nothing to hold out; add images or remove the class"
            f"{'' if len(together) == 1 else 'es'} (--small-classes drop does)"
        )
    small = np.flatnonzero(_too_small(data, train, group, rules.folds))
    if rules.small_classes == ERROR and len(small):
        raise InputError(
            f"{class_names(data, small)} {'has' if len(small) == 1 else 'have'} fewer than"
            f" {rules.folds} training images; add images, use fewer --folds, or choose"
            " --small-classes reduce or drop"
        )


def _about_absent(
    data: FeatureSet,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    dropped: NDArray[np.intp],
) -> list[str]:
    """Return warnings about classes without training images, or without any."""
    k = len(data.classes)
    in_train = np.bincount(data.label[train], minlength=k)
    in_test = np.bincount(data.label[test], minlength=k)
    warnings = []
    unseen = np.flatnonzero((in_train == 0) & (in_test > 0))
    if len(unseen):
        warnings.append(
            f"There is no training image of {class_names(data, unseen)}:"
            f" {count(in_test[unseen].sum(), 'test image')} cannot be classified right."
        )
    empty = np.setdiff1d(np.flatnonzero((in_train == 0) & (in_test == 0)), dropped)
    if len(empty):
        warnings.append(
            f"There is no image of {class_names(data, empty)}: no head can answer with it."
        )
    return warnings


def _folds_allowed(
    data: FeatureSet, train: NDArray[np.intp], group: Partition, folds: int
) -> tuple[int, list[str]]:
    units = units_of(data, train, group)
    known = np.flatnonzero(units)
    smallest = known[units[known].argmin()]
    if units[smallest] >= folds:
        return folds, []
    folds = int(units[smallest])
    images = int(np.sum(data.label[train] == smallest))
    apart = "" if images == folds else f", of which {folds} do not belong together"
    return folds, [
        f"Cross-validation uses {folds} folds, because {class_names(data, [smallest])} has only"
        f" {images} training images{apart}."
    ]
