"""Divides the labelled images into training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.records import FeatureSet
from headstart.core.results import Remark
from headstart.evaluation import groups
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits.config import PREDEFINED, Rules
from headstart.evaluation.splits.small_classes import check_classes
from headstart.evaluation.splits.warnings import (
    about_leakage,
    about_rows,
    about_suggested,
    about_validation,
    check_features,
)

HELD_OUT_SHARE = 0.2
DUPLICATES = "byte-for-byte duplicates"
SCORED = 30  # images that nobody chose; fewer are not scored without the others


@dataclass(frozen=True)
class Protocol:
    """The division of a feature set.

    Attributes:
        train: rows for tuning and fitting, ascending.
        test: rows that are scored, ascending: once, by a model that saw none of them, or
            ``out_of_fold``, where they are the training rows, without those that `suggest` chose.
        predefined: whether the test rows are the data's own split named test.
        validation: ``(n_train,)``, the training rows that heads are chosen on; they are fitted on
            the others. None for cross-validation.
        folds: number of folds of the cross-validation on ``train``.
        repeats: how often it is done, each time with other folds.
        group: ``(n,)`` the group of each row of the feature set; a group is in one fold.
        leaked: ``(n_test,)``, whether a test image shares a group with a training image.
        out_of_fold: whether each image is scored by models that were not fitted on it, and the
            shipped model is fitted on all.
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    predefined: bool
    validation: NDArray[np.bool_] | None
    folds: int
    repeats: int
    group: Partition
    leaked: NDArray[np.bool_]
    warnings: list[Remark]
    out_of_fold: bool = False


def make_protocol(
    data: FeatureSet,
    rules: Rules,
    partitions: Mapping[str, Partition] | None = None,
    leakage: Mapping[str, Partition] | None = None,
) -> Protocol:
    """Divide the labelled images into a training pool and a test split, and check both.

    A split named test is used as it is. Without one, 20 % of each class are held out, whole groups
    at a time, or with few images, none: see `Rules.holds_out`. Byte-identical images are always in
    one group.

    Args:
        data: the features.
        rules: how to divide.
        partitions: further partitions ``(n,)`` of all rows into groups that stay together, with a
            plural noun for the images of a group as key (``near-duplicates``).
        leakage: partitions whose groups may be divided among folds, but whose test images count as
            leaked if a training image is in the group. Each replaces the partition of that name.

    Raises:
        InputError: labels, training images, a second class, enough images for a test, or the
            validation split that the rules name are missing.
    """
    labelled = _labelled(data)
    about_features = check_features(data)
    relations = {DUPLICATES: groups.by_content(data.sha256), **(partitions or {})}
    group = groups.join(*relations.values())
    relations |= leakage or {}
    connected = groups.join(*relations.values())
    train, test, predefined = _divide(data, labelled, group, rules)
    out_of_fold = not predefined and not rules.holds_out(free_images(data, labelled))
    train, test, folds, about_classes = check_classes(data, train, test, group, rules)
    about_test = about_leakage(train, test, relations)
    if out_of_fold:
        test = representative(data, train)
    if not len(test):
        raise InputError(
            "there are too few distinct images to hold some out as a test; add images, or name"
            " a test split"
        )
    validation = _validation(data, train) if rules.validation == PREDEFINED else None
    return Protocol(
        train=train,
        test=test,
        predefined=predefined,
        validation=validation,
        folds=folds,
        repeats=rules.repeats_for(len(train), out_of_fold),
        group=group,
        leaked=np.isin(connected[test], connected[train]) & ~np.bool_(out_of_fold),
        warnings=[
            *about_rows(data),
            *about_features,
            *about_classes,
            *about_test,
            *about_suggested(data, train, test),
            *([] if validation is None else about_validation(group[train], validation)),
        ],
        out_of_fold=out_of_fold,
    )


def _labelled(data: FeatureSet) -> NDArray[np.intp]:
    labelled = np.flatnonzero(data.label >= 0)
    if not len(labelled):
        raise InputError(
            f"{one_line(data.name)} has no labelled images; put the images of each class into a"
            " folder named after it, or provide the labels in a CSV file"
        )
    return labelled


def _divide(
    data: FeatureSet, labelled: NDArray[np.intp], group: Partition, rules: Rules
) -> tuple[NDArray[np.intp], NDArray[np.intp], bool]:
    """Return the training rows, the test rows, and whether the data has a split named test."""
    is_test = np.array([split == "test" for split in data.split])[labelled]
    predefined = bool(is_test.any())
    if not predefined and rules.holds_out(free_images(data, labelled)):
        free = labelled[~chosen_groups(data, group)[labelled]]
        held_out = np.zeros(len(data.path), bool)
        if len(free):
            held_out[free] = _hold_out(data.label[free], group[free], rules.seed)
        is_test = held_out[labelled]
    train, test = labelled[~is_test], labelled[is_test]
    if not len(train):
        raise InputError(
            f"all labelled images of {one_line(data.name)} are in the split test, so there is"
            " nothing to train on; move some to a split named train"
        )
    return train, test, predefined


def chosen_groups(data: FeatureSet, group: Partition) -> NDArray[np.bool_]:
    """Return which images `suggest` chose, or are in a group with one, ``(n,)``.

    They are not drawn for the test: images that were chosen because they are typical or hard are
    no sample of those to come.
    """
    return np.asarray(np.isin(group, group[data.is_suggested]))


def free_images(data: FeatureSet, rows: NDArray[np.intp]) -> int:
    """Return how many rows are images that `suggest` did not choose."""
    return int(np.sum(~data.is_suggested[rows]))


def representative(data: FeatureSet, train: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the training rows whose out-of-fold answers say how new images fare.

    Those are the rows that `suggest` did not choose, or, if these are fewer than `SCORED` images of
    two classes, all.
    """
    free = train[~data.is_suggested[train]]
    enough = len(free) >= SCORED
    if enough and data.label_sets is None:
        enough = len(np.unique(data.label[free])) > 1
    return free if enough else train


def _hold_out(labels: NDArray[np.int32], group: Partition, seed: int) -> NDArray[np.bool_]:
    """Choose 20 % of each class by whole groups, and leave at least two groups of each class.

    A group counts for the class of its first image.
    """
    rng = np.random.default_rng(seed)
    numbers, first, sizes = np.unique(group, return_index=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(labels[order], np.cumsum(sizes)[:-1])
    members = dict(zip(numbers.tolist(), parts, strict=True))
    left = np.zeros(int(labels.max()) + 1, np.intp)  # groups of each class that are not held out
    for of_group in members.values():
        left[np.unique(of_group)] += 1
    held_out: list[int] = []

    def hold(number: int) -> bool:
        present = np.unique(members[number])
        if left[present].min() <= 2:
            return False
        left[present] -= 1
        held_out.append(number)
        return True

    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels[first] == label))
        quota = max(1, round(HELD_OUT_SHARE * int(sizes[own].sum())))
        before = len(held_out)
        for place in own:
            if sizes[place] <= quota and hold(int(numbers[place])):
                quota -= int(sizes[place])
        if len(held_out) == before and len(own):
            hold(int(numbers[own[sizes[own].argmin()]]))
    return np.isin(group, held_out)


def _validation(data: FeatureSet, train: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which training rows are of the split named validation."""
    held_out = np.array([data.split[row] == "validation" for row in train])
    if not held_out.any():
        raise InputError(
            f"{one_line(data.name)} has no split named validation; name one, or leave out"
            " --validation predefined"
        )
    if len(np.unique(data.label[train[~held_out]])) < 2:
        raise InputError(
            "outside the split named validation there are training images of fewer than two"
            " classes; leave out --validation predefined"
        )
    return held_out
