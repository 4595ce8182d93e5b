"""Small classes: every fold needs images of each class to fit on and to hold out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, count
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits.config import DROP, ERROR, Rules
from headstart.evaluation.splits.wording import class_names


class Allowed(NamedTuple):
    """The training and test rows without dropped classes, and the folds that the classes allow."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    folds: int
    warnings: list[Remark]


def check_classes(
    data: FeatureSet,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    group: Partition,
    rules: Rules,
) -> Allowed:
    """Apply the rule for small classes; a group is in one fold, so a class counts by its groups.

    Raises:
        InputError: fewer than two classes can be trained on, or the rule forbids a class so small.
    """
    warnings = []
    if rules.small_classes == DROP:
        counts = groups_by_class(data, train, group)
        dropped = np.flatnonzero(_too_small(data, train, group, rules.folds))
        if len(dropped):
            train, test = (rows[~np.isin(data.label[rows], dropped)] for rows in (train, test))
            warnings.append(
                remark(
                    "HS321",
                    f"Left out, because they have fewer than {rules.folds} training images:"
                    f" {class_names(data, dropped)}.",
                )
            )
            if len(np.unique(data.label[train])) < 2:
                raise InputError(
                    f"fewer than two classes have {rules.folds} training images or more (groups"
                    f" count once); {_way_out(counts, rules)}"
                )
    else:
        dropped = np.array([], np.intp)
    _check_each_class(data, train, group, rules)
    warnings += _about_absent(data, train, test, dropped)
    folds, about_folds = _folds_allowed(data, train, group, rules.folds)
    return Allowed(train, test, folds, [*warnings, *about_folds])


def _way_out(counts: NDArray[np.intp], rules: Rules) -> str:
    """Return options that drop the smallest classes and leave two at least, if there are such.

    ``counts`` are the groups of each class; a class that is kept needs one for each fold.
    """
    second = int(np.sort(counts)[-2]) if len(counts) > 1 else 0
    if second < 2:
        return "add images, because fewer than two classes have two that can be divided"
    folds = "" if second >= rules.folds else f" --folds {second}"
    return f"add images, or leave such classes out with --small-classes drop{folds}"


def _too_small(
    data: FeatureSet, train: NDArray[np.intp], group: Partition, folds: int
) -> NDArray[np.bool_]:
    """Return which classes have training images, but too few for the folds, ``(k,)``."""
    counts = groups_by_class(data, train, group)
    return (counts > 0) & (counts < folds)


def groups_by_class(data: FeatureSet, rows: NDArray[np.intp], group: Partition) -> NDArray[np.intp]:
    """Count the groups of each class, ``(k,)``."""
    pairs = np.unique(np.column_stack([data.label[rows], group[rows]]), axis=0)
    counts: NDArray[np.intp] = np.bincount(pairs[:, 0], minlength=len(data.classes))
    return counts


def _check_each_class(
    data: FeatureSet, train: NDArray[np.intp], group: Partition, rules: Rules
) -> None:
    images = np.bincount(data.label[train], minlength=len(data.classes))
    present = np.flatnonzero(images)
    if len(present) == 1:
        raise InputError(
            f"all training images are of the class {class_names(data, present)}; add images of"
            " another class"
        )
    single = np.flatnonzero(images == 1)
    if len(single):
        several = len(single) > 1
        raise InputError(
            f"{class_names(data, single)} {'have' if several else 'has'} 1 training image"
            f"{' each' if several else ''}; {_way_out(groups_by_class(data, train, group), rules)}"
        )
    grouped = np.flatnonzero(groups_by_class(data, train, group) == 1)
    if len(grouped):
        raise InputError(
            f"the training images of {class_names(data, grouped)} are all in one group (or"
            " duplicates), so none can be held out;"
            f" {_way_out(groups_by_class(data, train, group), rules)}"
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
) -> list[Remark]:
    """Return warnings about classes without training images, or without any."""
    k = len(data.classes)
    in_train = np.bincount(data.label[train], minlength=k)
    in_test = np.bincount(data.label[test], minlength=k)
    warnings = []
    unseen = np.flatnonzero((in_train == 0) & (in_test > 0))
    if len(unseen):
        warnings.append(
            remark(
                "HS323",
                f"{class_names(data, unseen)} {_has(unseen)} no training images:"
                f" {count(in_test[unseen].sum(), 'test image')} cannot be classified correctly.",
            )
        )
    empty = np.setdiff1d(np.flatnonzero((in_train == 0) & (in_test == 0)), dropped)
    if len(empty):
        text = f"{class_names(data, empty)} {_has(empty)} no images and can never be predicted."
        warnings.append(remark("HS324", text))
    return warnings


def _has(codes: NDArray[np.intp]) -> str:
    return "has" if len(codes) == 1 else "have"


def _folds_allowed(
    data: FeatureSet, train: NDArray[np.intp], group: Partition, folds: int
) -> tuple[int, list[Remark]]:
    counts = groups_by_class(data, train, group)
    present = np.flatnonzero(counts)
    smallest = present[counts[present].argmin()]
    if counts[smallest] >= folds:
        return folds, []
    folds = int(counts[smallest])
    images = int(np.sum(data.label[train] == smallest))
    apart = "" if images == folds else f" in {folds} groups"
    return folds, [
        remark(
            "HS322",
            f"Cross-validation uses {folds} folds, because {class_names(data, [smallest])} has only"
            f" {images} training images{apart}.",
        )
    ]
