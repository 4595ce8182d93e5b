"""The division of images with several labels: iterative stratification, groups kept whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.records import FeatureSet
from headstart.evaluation import groups
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.division import NEAR_DUPLICATES, named_partition
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits import HELD_OUT_SHARE, Protocol, check_features, iterative
from headstart.evaluation.splits.config import PREDEFINED
from headstart.evaluation.splits.small_labels import check_labels
from headstart.evaluation.splits.split import (
    DUPLICATES,
    chosen_groups,
    free_images,
    representative,
)
from headstart.evaluation.splits.warnings import (
    about_leakage,
    about_rows,
    about_suggested,
    about_validation,
)

Labels = NDArray[np.int8]


def label_sets(data: FeatureSet) -> Labels:
    """Return the labels of multi-label data, ``(n, k)``."""
    assert data.label_sets is not None
    return data.label_sets


def plain(data: FeatureSet) -> FeatureSet:
    """Return the data as if labelled images had one class, for what only asks who has labels."""
    return dataclasses.replace(data, label=np.where(data.is_labelled, 0, -1).astype(np.int32))


def divide(
    data: FeatureSet,
    duplicates: Duplicates,
    named_groups: Mapping[str, str],
    config: CompareConfig,
) -> tuple[FeatureSet, Protocol]:
    """Return the data with the labels that can be learned, and their division.

    Raises:
        InputError: no label can be learned, or there is nothing to train or to test on.
    """
    named, about_groups = named_partition(data, named_groups)
    about_features = check_features(plain(data))
    relations = {
        DUPLICATES: groups.by_content(data.sha256),
        NEAR_DUPLICATES: duplicates.group,
        **named,
    }
    group = groups.join(*relations.values())
    train, test, predefined = _divide(data, group, config)
    allowed = check_labels(label_sets(data)[train], group[train], data.classes, config)
    kept = np.flatnonzero(allowed.kept).tolist()
    data = dataclasses.replace(
        data,
        classes=tuple(data.classes[code] for code in kept),
        label_sets=label_sets(data)[:, kept],
    )
    labelled_rows = data.is_labelled
    train, test = train[labelled_rows[train]], test[labelled_rows[test]]
    out_of_fold = not predefined and not config.holds_out(
        free_images(data, np.flatnonzero(labelled_rows))
    )
    about_test = about_leakage(train, test, relations)
    test = representative(data, train) if out_of_fold else test
    if not len(test):
        raise InputError(
            "there are too few distinct images with labels to hold some out as a test; add images,"
            " or name a test split"
        )
    validation = _validation(data, train) if config.validation == PREDEFINED else None
    protocol = Protocol(
        train=train,
        test=test,
        predefined=predefined,
        validation=validation,
        folds=allowed.folds,
        repeats=config.repeats_for(len(train), out_of_fold),
        group=group,
        leaked=np.isin(group[test], group[train]) & ~np.bool_(out_of_fold),
        warnings=[
            *about_groups,
            *about_rows(plain(data)),
            *about_features,
            *allowed.warnings,
            *about_test,
            *about_suggested(data, train, test),
            *([] if validation is None else about_validation(group[train], validation)),
        ],
        out_of_fold=out_of_fold,
    )
    return data, protocol


def _divide(
    data: FeatureSet, group: Partition, config: CompareConfig
) -> tuple[NDArray[np.intp], NDArray[np.intp], bool]:
    """Return the training rows, the test rows, and whether the data has a split named test."""
    labels = label_sets(data)
    labelled = np.flatnonzero(data.is_labelled)
    if not len(labelled):
        raise InputError(
            f"{one_line(data.name)} has no labelled images; provide their labels in a CSV file"
        )
    is_test = np.array([split == "test" for split in data.split])[labelled]
    predefined = bool(is_test.any())
    if not predefined and config.holds_out(free_images(data, labelled)):
        free = ~chosen_groups(data, group)[labelled]
        rows = labelled[free]
        if len(rows):
            is_test[free] = iterative.hold_out(
                labels[rows], group[rows], HELD_OUT_SHARE, config.seed
            )
    train, test = labelled[~is_test], labelled[is_test]
    if not len(train):
        raise InputError(
            f"all labelled images of {one_line(data.name)} are in the split test, so there is"
            " nothing to train on; move some to a split named train"
        )
    return train, test, predefined


def _validation(data: FeatureSet, train: NDArray[np.intp]) -> NDArray[np.bool_]:
    held_out = np.array([data.split[row] == "validation" for row in train])
    if not held_out.any() or held_out.all():
        raise InputError(
            f"{one_line(data.name)} needs images both in a split named validation and outside it;"
            " name them, or leave out --validation predefined"
        )
    return held_out
