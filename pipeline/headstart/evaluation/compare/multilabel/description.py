"""The ``dataset`` and ``protocol`` of the results, and duplicates with other labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import one_line
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import DuplicateSummary, Remark
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.insights import NAMED
from headstart.evaluation.compare.multilabel.division import label_sets, plain
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.splits import Protocol
from headstart.evaluation.splits import description as splits_description
from headstart.evaluation.splits.wording import utf8

Pairs = list[tuple[int, int]]


def describe_dataset(data: FeatureSet, protocol: Protocol) -> dict[str, Any]:
    """Return the ``dataset`` of the results; ``images`` has each split's images by label."""
    labels, names = label_sets(data), [utf8(name) for name in data.classes]
    splits = np.array(data.split)
    labelled = data.is_labelled

    def counts(marks: NDArray[np.bool_]) -> dict[str, int]:
        return dict(zip(names, marks.sum(axis=0).tolist(), strict=True))

    present = dict.fromkeys(splits[labelled].tolist())
    images = {utf8(split): counts(labels[splits == split] > 0) for split in present}
    document = splits_description.describe_dataset(plain(data), protocol, images)
    return document | {
        "unknown": counts(labels[labelled] < 0),
        "n_without_labels": int((labelled & (labels <= 0).all(axis=1)).sum()),
    }


def describe_protocol(
    data: FeatureSet, protocol: Protocol, config: CompareConfig
) -> dict[str, Any]:
    """Return the ``protocol`` of the results."""
    document = splits_description.describe_protocol(plain(data), protocol, config)
    rule = "the best F1"
    if config.precision_at_least is not None:
        rule = f"a precision of at least {config.precision_at_least:g}"
    if config.recall_at_least is not None:
        rule = f"a recall of at least {config.recall_at_least:g}"
    return document | {
        "n_classes": len(data.classes),
        "class_weight": config.class_weight or "none",
        "scoring": "log loss after calibration, the mean over the labels"
        + (" (each label by itself)" if config.per_label else ""),
        "thresholds": f"{rule}, on out-of-fold scores of the training images",
        "interval": "95 %, images or their groups resampled",
        "tuned_on": document["tuned_on"].replace("stratified", "iteratively stratified"),
        "test_split": document["test_split"].replace("of each class", "of each label"),
    }


def label_conflicts(data: FeatureSet, repeated: Duplicates) -> Pairs:
    """Return pairs of an image and its closest duplicate of which one lacks a label of the other.

    A label that is unknown for one of them is no conflict.
    """
    labels = label_sets(data)
    rows = repeated.rows[~repeated.recoloured[repeated.rows]]
    pairs = np.sort(np.column_stack([rows, repeated.closest[rows]]), axis=1)
    first, second = labels[pairs[:, 0]], labels[pairs[:, 1]]
    differ: NDArray[np.bool_] = ((first != second) & (first >= 0) & (second >= 0)).any(axis=1)
    return [(int(a), int(b)) for a, b in np.unique(pairs[differ], axis=0)]


def with_conflicts(
    summary: DuplicateSummary, data: FeatureSet, conflicts: Pairs
) -> DuplicateSummary:
    """Return the summary of duplicates with those that have other labels."""
    named = [(utf8(data.path[a]), utf8(data.path[b])) for a, b in conflicts]
    return dataclasses.replace(summary, label_conflicts=named)


def about_conflicts(data: FeatureSet, conflicts: Pairs) -> list[Remark]:
    """Return a warning about duplicates with other labels."""
    if not conflicts:
        return []
    named = conflicts[:NAMED]
    shown = "; ".join(f"{_labelled(data, a)} and {_labelled(data, b)}" for a, b in named)
    more = f"; and {len(conflicts) - NAMED:,} more" if len(conflicts) > NAMED else ""
    return [
        remark(
            "HS333",
            f"Identical or near-identical images have different labels: {shown}{more}. Correct the"
            " labels and run headstart features again.",
        )
    ]


def _labelled(data: FeatureSet, row: int) -> str:
    return f"{one_line(data.path[row])} ({one_line(data.label_text(row)) or 'none'})"
