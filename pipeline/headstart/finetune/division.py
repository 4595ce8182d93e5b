"""Which images train the network, which choose the best epoch, and which only test it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.evaluation.splits import Rules, make_protocol
from headstart.evaluation.splits.wording import class_names
from headstart.heads.folds import divisions

VALIDATION_SHARE = 10  # one in so many training images, if the data have no validation split


@dataclass(frozen=True)
class Division:
    """Rows of a feature set that train, choose the epoch (``validation``) and test, ascending.

    Attributes:
        classes: ``(k,)`` codes of the classes that are trained.
        drawn: whether the validation split was drawn here, since the data name none.
        remarks: sentences for the user.
    """

    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]
    classes: NDArray[np.int64]
    drawn: bool
    remarks: list[str]

    def named(self, data: FeatureSet) -> FeatureSet:
        """Return the feature set with the division as its splits; other rows lose their label."""
        split = np.full(len(data.path), "", object)
        split[self.train], split[self.validation], split[self.test] = "train", "validation", "test"
        label = np.where(split == "", -1, data.label).astype(np.int32)
        return dataclasses.replace(data, split=split.tolist(), label=label)


def divide(data: FeatureSet, seed: int) -> Division:
    """Divide the labelled images as the heads' comparison does, and keep a validation split.

    The data's own splits are kept. Without a test split 20 % are held out, and without a
    validation split a stratified tenth of the training images; duplicates stay together.

    Raises:
        InputError: too few images, or all training images of a class are in the validation split.
    """
    protocol = make_protocol(data, Rules(seed=seed, holdout=True))
    rows = protocol.train
    validating = np.array([split == "validation" for split in data.split])[rows]
    drawn = not validating.any()
    remarks = list(protocol.warnings)
    if drawn:
        labels = data.label[rows].astype(np.int64)
        group = protocol.group[rows]
        least = min(len(np.unique(group[labels == code])) for code in np.unique(labels))
        share = min(VALIDATION_SHARE, max(2, least))
        validating = divisions(labels, share, seed, 1, group)[0] == 0
        remarks.append(
            f"There is no validation split: {int(validating.sum()):,} of {len(rows):,} training "
            "images, stratified by class, choose the best epoch and are not trained on."
        )
    train, validation = rows[~validating], rows[validating]
    classes = np.unique(data.label[train])
    missing = np.setdiff1d(np.unique(data.label[rows]), classes)
    if len(missing):
        raise InputError(
            f"all training images of {class_names(data, missing)} are in the validation split; "
            "move some to train"
        )
    if len(classes) < 2 or not len(validation):
        raise InputError(
            "too few training images to keep some as a validation split; add images, or name a "
            "validation split"
        )
    return Division(train, validation, protocol.test, classes.astype(np.int64), drawn, remarks)
