"""Remarks: what about the data or the heads a reader should look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from headstart.core.errors import one_line
from headstart.core.label_results import LabelHeadResult
from headstart.core.records import FeatureSet
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.evaluation.compare.multilabel.division import label_sets
from headstart.evaluation.metrics.multilabel import FEW
from headstart.evaluation.splits import Protocol

NAMED = 5  # labels of a remark


def remarks_on(
    data: FeatureSet,
    protocol: Protocol,
    heads: Sequence[LabelHeadResult],
    baselines: Sequence[LabelHeadResult],
) -> list[Remark]:
    """Return the remarks on a comparison, its heads best first."""
    return [
        *_about_few(data, protocol),
        *_about_pairs(data),
        *_about_size(data, protocol),
        *_about_pixels(heads[0], baselines),
        *_about_thresholds(data, heads[0]),
    ]


def _about_few(data: FeatureSet, protocol: Protocol) -> Iterator[Remark]:
    support = (label_sets(data)[protocol.test] > 0).sum(axis=0)
    few = [data.classes[code] for code in np.flatnonzero(support < FEW).tolist()]
    if few:
        yield remark(
            "HS601",
            f"Fewer than {FEW} scored images have the label {_named(few)}, so scores of"
            f" {'it' if len(few) == 1 else 'them'} say little, and no verdict hangs on"
            f" {'it' if len(few) == 1 else 'them'} alone.",
        )


def _about_pairs(data: FeatureSet) -> Iterator[Remark]:
    """Name labels that always occur together: no image tells them apart."""
    labels, pairs = label_sets(data), []
    for first in range(labels.shape[1]):
        for second in range(first + 1, labels.shape[1]):
            both = (labels[:, first] >= 0) & (labels[:, second] >= 0)
            own, other = labels[both, first] == 1, labels[both, second] == 1
            if own.any() and np.array_equal(own, other):
                pairs.append(f"{data.classes[first]} and {data.classes[second]}")
    if pairs:
        yield remark(
            "HS602",
            f"Labels that always occur together: {_named(pairs, '; ')}. No head can tell them"
            " apart. Merge them, or add images that have one of them.",
        )


def _about_size(data: FeatureSet, protocol: Protocol) -> Iterator[Remark]:
    if len(data.classes) > len(protocol.train):
        yield remark(
            "HS603",
            f"There are more labels ({len(data.classes):,}) than training images"
            f" ({len(protocol.train):,}), so most labels have too few images to be learned.",
        )


def _about_pixels(best: LabelHeadResult, baselines: Sequence[LabelHeadResult]) -> Iterator[Remark]:
    ends = best.intervals.get("map")
    for baseline in baselines:
        if baseline.name == "raw-pixels" and ends and baseline.map >= ends[0]:
            yield remark(
                "HS201",
                f"Raw pixels have a mean average precision of {baseline.map:.3f}, {best.title} has"
                f" {best.map:.3f}: the backbone adds little that these images show. Try another"
                " backbone or layer, or look for something trivial that tells the labels apart.",
            )


def _about_thresholds(data: FeatureSet, best: LabelHeadResult) -> Iterator[Remark]:
    missed = [
        name
        for name, reached in zip(data.classes, best.per_label["reached"], strict=True)
        if not reached
    ]
    if missed:
        yield remark(
            "HS604",
            f"No threshold of {_named(missed)} reaches what was asked for on out-of-fold scores;"
            " the nearest was taken.",
        )


def _named(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(one_line(name) for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED:,} more"
