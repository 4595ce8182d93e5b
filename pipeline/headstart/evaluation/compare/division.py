"""The division of images, given the user's groups and the duplicates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headstart.core.errors import InputError, one_line
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation import groups
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.insights import about_duplicates
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.groups import Partition
from headstart.evaluation.splits import Protocol, make_protocol
from headstart.evaluation.splits.small_classes import groups_by_class
from headstart.evaluation.splits.wording import class_names

NEAR_DUPLICATES = "near-duplicates"
NAMED_GROUPS = "other images of their groups"


def divide(
    data: FeatureSet,
    duplicates: Duplicates,
    named_groups: Mapping[str, str],
    config: CompareConfig,
) -> tuple[Protocol, list[Remark]]:
    """Divide the images so that groups and duplicates stay together, and return warnings too.

    ``named_groups`` maps paths to the user's groups.

    Raises:
        InputError: the groups name no image, or the data cannot be divided.
    """
    named, about_groups = named_partition(data, named_groups)
    near, about_near = _divisible(data, duplicates.group)
    protocol = make_protocol(
        data, config, {NEAR_DUPLICATES: near} | named, {NEAR_DUPLICATES: duplicates.group}
    )
    about_labels = about_duplicates(data, duplicates)
    return protocol, [*about_groups, *about_near, *protocol.warnings, *about_labels]


def named_partition(
    data: FeatureSet, named_groups: Mapping[str, str]
) -> tuple[dict[str, Partition], list[Remark]]:
    """Return the user's groups as a partition, by its name, and a warning about ungrouped images.

    Raises:
        InputError: the groups name no image.
    """
    if not named_groups:
        return {}, []
    grouped = sum(path in named_groups for path in data.path)
    if not grouped:
        raise InputError(
            "the groups name none of the images; use the paths of the store, for instance"
            f" {one_line(data.path[0])}"
        )
    ungrouped = len(data.path) - grouped
    text = f"{ungrouped:,} of {len(data.path):,} images are in no group; each is its own group."
    about = [remark("HS402", text)] if ungrouped else []
    return {NAMED_GROUPS: groups.by_name(data.path, named_groups)}, about


def _divisible(data: FeatureSet, near: Partition) -> tuple[Partition, list[Remark]]:
    """Keep near-duplicates together unless, being a guess, they make a class indivisible.

    Then the class is divided with a warning, and test images with a near-duplicate count as leaked.
    """
    pool = np.array([split != "test" for split in data.split], bool)
    rows = np.flatnonzero((data.label >= 0) & pool)
    images = np.bincount(data.label[rows], minlength=len(data.classes))
    single = np.flatnonzero((groups_by_class(data, rows, near) == 1) & (images > 1))
    if not len(single):
        return near, []
    apart = np.isin(data.label, single)
    divided = np.where(apart, near.max() + 1 + np.arange(len(near)), near)
    return divided, [
        remark(
            "HS314",
            f"All training images of {class_names(data, single)} look like near-duplicates of one"
            " another. They are divided among the folds all the same, so accuracies may be too"
            " high.",
        )
    ]
