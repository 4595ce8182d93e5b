"""Which images train the network, which choose the best epoch, and which only test it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.core import targets
from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation.groups import Partition

VALIDATION_SHARE = 10  # one in so many training images, if the data have no validation split


@dataclass(frozen=True)
class Division:
    """Rows of a feature set that train, choose the epoch (``validation``) and test, ascending.

    Attributes:
        classes: ``(k,)`` codes of the classes, or labels, that are trained.
        drawn: whether the validation split was drawn here, since the data name none.
        remarks: what the user must know of it.
        group: ``(n,)`` of all rows: the user's groups, joined by duplicates; None without them.
    """

    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]
    classes: NDArray[np.int64]
    drawn: bool
    remarks: list[Remark]
    group: Partition | None = None

    def named(self, data: FeatureSet) -> FeatureSet:
        """Return the feature set with the division as its splits; other rows lose their labels.

        Several labels an image are reduced to those that are trained.
        """
        split = np.full(len(data.path), "", object)
        split[self.train], split[self.validation], split[self.test] = "train", "validation", "test"
        part = targets.by_name(data.target).part("finetuning")
        own: FeatureSet = part.only(data, self.classes, split != "")
        return dataclasses.replace(own, split=split.tolist())


def divide(data: FeatureSet, seed: int, named_groups: Mapping[str, str] | None = None) -> Division:
    """Divide the labelled images as the heads' comparison does, and keep a validation split.

    The data's own splits are kept. Without a test split 20 % are held out, and without a
    validation split a stratified tenth of the training images; duplicates stay together,
    and so do the images of ``named_groups``, the group of an image by its path.

    Raises:
        InputError: too few images, the groups name none of them, or all training images of a class
            are in the validation split.
    """
    own = targets.by_name(data.target).part("finetuning")
    division: Division = own.divide(data, seed, named_groups or {})
    return division


def too_few() -> InputError:
    """Return the error for data that leave nothing to validate on."""
    return InputError(
        "too few training images, or groups of them, to keep some as a validation split; add "
        "images, or name a validation split"
    )


def about_drawn(validating: NDArray[np.bool_], by: str) -> Remark:
    """Say that a validation split was drawn from the training images, stratified ``by``."""
    return remark(
        "HS901",
        f"There is no validation split: {int(validating.sum()):,} of {len(validating):,} training "
        f"images, stratified by {by}, choose the best epoch and are not trained on.",
    )
